"""The pictures of the demo: photographs that installed packages carry, beside manipulated copies.

In: a folder to write into, a detector. Out: files with what was really done to each (or None). Both
copies of a pair are saved alike, so that only the edit tells them apart. Nothing is tuned to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from telltale.models import Detector
from telltale.pictures import decode
from telltale.regions import Pixels, regions_of

JPEG_QUALITY = 92  # as a phone or a platform would save it
# One edit a kind of evidence: texture, anatomy, blur, upsampling, boundary.
EDITS_OF: dict[str, tuple[str, ...]] = {
    "astronaut": ("waxy_skin", "mouth_blur", "lattice"),
    "hopper": ("waxy_skin", "self_blend", "recompression"),
    "zidane": ("lattice",),
    "bus": (),
}
STRENGTH = 1.0
SEED = 2026


@dataclass(frozen=True)
class DemoPicture:
    """A file and what was done to it: the kind of the edit, or None for the photograph itself."""

    file: Path
    manipulated: str | None


def photographs() -> dict[str, Pixels]:
    """Photographs inside scikit-image, matplotlib and ultralytics; H x W x 3 uint8 by name."""
    import matplotlib as mpl
    import ultralytics
    from skimage import data

    assets = Path(ultralytics.__file__).parent / "assets"
    files = {
        "hopper": Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg",
        "zidane": assets / "zidane.jpg",
        "bus": assets / "bus.jpg",
    }
    found = {"astronaut": np.asarray(data.astronaut(), np.uint8)}
    return found | {name: decode(path.read_bytes()) for name, path in files.items()}


def make_pictures(
    folder: Path, detector: Detector, say: Callable[[str], None] = lambda _: None
) -> list[DemoPicture]:
    """Write every photograph and its manipulated copies; those without a face keep to themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[DemoPicture] = []
    for name, pixels in photographs().items():
        made.append(DemoPicture(_save(folder / f"{name}.jpg", pixels), None))
        for kind in EDITS_OF[name]:
            edited = _edited(kind, pixels, detector)
            if edited is None:
                say(f"{name}: nothing found to plant {kind} in")
                continue
            made.append(DemoPicture(_save(folder / f"{name}-{kind}.jpg", edited), kind))
    return made


def _edited(kind: str, pixels: Pixels, detector: Detector) -> Pixels | None:
    from telltale.lab.edits import EDITS, CannotPlant
    from telltale.lab.landmarks import from_boxes

    height, width = pixels.shape[:2]
    regions = regions_of(detector.detect([pixels])[0], width, height)
    if not any(r.type == "face" for r in regions):
        return None
    try:
        landmarks = from_boxes(regions)
        planted = EDITS[kind].plant(pixels, landmarks, STRENGTH, np.random.default_rng(SEED))
    except CannotPlant:
        return None
    return planted.pixels


def _save(path: Path, pixels: Pixels) -> Path:
    Image.fromarray(pixels).save(path, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return path
