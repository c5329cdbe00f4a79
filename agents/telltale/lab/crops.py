"""Twins: the same picture untouched and edited, and which of their regions to train on.

In: photographs with landmarks, a seed. Out: pairs of pictures that went through the very same
resizing, blur and JPEG, with the edit's mask and the regions; see ``crop_cache`` for their crops.
The regions and the crop function are the product's own. Raises ``LookupError`` for a folder
without a usable photograph; pictures that do not lend themselves to an edit are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.lab import landmarks as marks
from telltale.lab.cutouts import matte
from telltale.lab.edits import EDITS, CannotPlant, Donor, Mask
from telltale.lab.elsewhere import Alpha, Elsewhere
from telltale.lab.landmarks import Landmarks
from telltale.lab.pairs import split_of
from telltale.lab.persons import people_of
from telltale.regions import (
    WHERE,
    Box,
    Pixels,
    Region,
    RegionType,
    area_px,
    crop,
    regions_for,
    regions_of,
)

SIZE_PX = 128
MASK_PX = 16
SCALES = (1.0, 1.6)
FACE_PX = (150.0, 600.0)
TYPES: tuple[RegionType, ...] = get_args(RegionType)
KINDS: tuple[str, ...] = tuple(EDITS)
LEFT_OUT: tuple[str, ...] = ("pasted_nose", "tooth_warp", "recompression")
"""Kinds never trained on: one pasted feature, one warp, one trace of processing."""
TRAINED: tuple[str, ...] = tuple(k for k in KINDS if k not in LEFT_OUT)
ATTEMPTS = 40
ELSEWHERE = 0.5
"""Share of the training's and calibration's pictures set outside the studio."""


@dataclass(frozen=True)
class Photograph:
    """A photograph of one person: pixels as decoded, landmarks in its pixels."""

    person: str
    pixels: Pixels
    landmarks: Landmarks

    @cached_property
    def matte(self) -> Alpha:
        """Where the person is: H x W uint8, 0 to 255."""
        return matte(self.pixels, self.landmarks.points)


@dataclass(frozen=True)
class Pair:
    """The same picture untouched and edited, degraded alike, and its regions."""

    real: Pixels
    edited: Pixels
    mask: Mask
    regions: tuple[Region, ...]
    own: tuple[Region, ...]
    """The regions in which the planted cue is looked for and the edit lies."""
    kind: str
    strength: float
    person: str


def photographs(faces: Path, measuring: bool, limit: int | None = None) -> list[Photograph]:
    """Photographs with landmarks of the people trained on, or of those kept for measuring.

    ``limit`` stops after so many, in order of their paths. Raises ``LookupError`` where there is none.
    """
    found: list[Photograph] = []
    paths = sorted(faces.rglob("*.jpg"))
    people = people_of(faces, paths)
    for path in paths:
        person = people[path]
        if (split_of(person) != "train") != measuring or len(found) == limit:
            continue
        pixels = marks.photograph(path)
        try:
            found.append(Photograph(person, pixels, marks.beside(path, pixels)))
        except LookupError:
            continue  # a photograph without landmarks cannot carry an edit
    if not found:
        raise LookupError(f"{faces} holds no photograph with landmarks for this split")
    return found


def draw_pair(
    photos: Sequence[Photograph],
    kind: str,
    strength: float,
    rng: np.random.Generator,
    elsewhere: Elsewhere | None = None,
) -> Pair:
    """One pair of a kind from a random photograph, a share of them set ``elsewhere``.

    Raises ``CannotPlant`` after many attempts.
    """
    for _ in range(ATTEMPTS):
        photo = photos[int(rng.integers(len(photos)))]
        others = [p for p in photos if p.person != photo.person]
        donor = others[int(rng.integers(len(others)))] if others else None
        try:
            return _pair(photo, donor, kind, strength, rng, elsewhere)
        except CannotPlant:
            continue
    raise CannotPlant(f"{kind}: no photograph lends itself to it")


def rows_of(pair: Pair, rng: np.random.Generator) -> Iterator[tuple[Region, float, bool]]:
    """Which crops of a pair to train on: region, scale, and whether the cue's own region.

    The own region at both scales, one other region that the edit touches, and (half the time)
    one that it leaves alone, which teaches where a cue is not.
    """
    best = max(pair.own, key=lambda r: share(pair.mask, r, 1.0))
    for scale in SCALES:
        yield best, scale, True
    rest = [r for r in pair.regions if r.region_id != best.region_id and r.type != "image"]
    rest = [rest[int(n)] for n in rng.permutation(len(rest))]
    touched = [r for r in rest if share(pair.mask, r, 1.0) > 0.03]
    untouched = [r for r in rest if share(pair.mask, r, 1.6) == 0.0]
    if touched:
        yield touched[0], SCALES[int(rng.integers(2))], False
    if untouched and rng.random() < 0.5:
        yield untouched[0], SCALES[int(rng.integers(2))], False


def share(mask: Mask, region: Region, scale: float) -> float:
    """Share of the box, grown by ``scale``, that the edit covers, 0 to 1."""
    x0, y0, x1, y1 = region.box_px
    dx, dy = (scale - 1) * (x1 - x0) / 2, (scale - 1) * (y1 - y0) / 2
    part = mask[max(0, int(y0 - dy)) : int(y1 + dy) + 1, max(0, int(x0 - dx)) : int(x1 + dx) + 1]
    return float(part.mean()) if part.size else 0.0


def mask_crop(mask: Mask, box: Box, scale: float) -> NDArray[np.uint8]:
    """The mask seen through the window of ``regions.crop``: MASK_PX x MASK_PX, 0 to 255."""
    grey = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, 2)
    return crop(grey, box, MASK_PX, scale)[..., 0]


def _pair(
    photo: Photograph, donor: Photograph | None, kind: str, strength: float,
    rng: np.random.Generator, elsewhere: Elsewhere | None,
) -> Pair:  # fmt: skip
    pixels, landmarks = _framed(photo, rng, elsewhere)
    given = None
    if donor is not None and EDITS[kind].needs_donor:
        scale = landmarks.eye_distance_px / donor.landmarks.eye_distance_px
        given = Donor(_resized(donor.pixels, scale), donor.landmarks.moved(scale))
    edit, where = EDITS[kind], None
    if edit.dress is not None:
        dressed = edit.dress(pixels, landmarks, rng)
        pixels, where = dressed.pixels, dressed.where
    try:
        planted = edit.plant(pixels, landmarks, strength, rng, given, where)
    except ValueError as error:  # a window cut by the picture's rim
        raise CannotPlant(str(error)) from error
    real, edited, scale = _degraded(pixels, planted.pixels, rng)
    height, width = real.shape[:2]
    mask = cv2.resize(planted.mask, (width, height), interpolation=cv2.INTER_AREA)
    found = [
        (type_, _jittered(box, scale, rng), 1.0, None)
        for type_, box, _, _ in marks.detected(landmarks)
    ]
    regions = tuple(r for r in regions_of(found, width, height) if _large(r))
    own = [r for r in regions_for(edit.cue_region, regions) if share(mask, r, 1.6) > 0]
    if not own:
        raise CannotPlant(f"{kind} lies in no region of this picture")
    if "object" in WHERE[edit.cue_region] and where is not None and rng.random() < 0.5:
        box: Box = tuple(v * scale for v in where)  # type: ignore[assignment]
        own = [Region("object.0", "object", box, 1.0)]
    return Pair(real, edited, mask, regions, tuple(own), kind, strength, photo.person)


def _framed(
    photo: Photograph, rng: np.random.Generator, elsewhere: Elsewhere | None
) -> tuple[Pixels, Landmarks]:
    """The head with some surroundings, at a face width drawn evenly in its logarithm."""
    x0, y0, x1, y1 = marks.detected(photo.landmarks)[0][1]
    w, h = x1 - x0, y1 - y0
    height, width = photo.pixels.shape[:2]
    left = max(0, round(x0 - rng.uniform(0.45, 0.9) * w))
    right = min(width, round(x1 + rng.uniform(0.45, 0.9) * w))
    top = max(0, round(y0 - rng.uniform(0.5, 0.8) * h))
    bottom = min(height, round(y1 + rng.uniform(0.4, 0.7) * h))
    scale = float(np.exp(rng.uniform(*np.log(FACE_PX)))) / w
    part = np.ascontiguousarray(photo.pixels[top:bottom, left:right])
    if elsewhere is not None and rng.random() < elsewhere.share:
        part = elsewhere.moved(_resized(part, scale), photo.matte[top:bottom, left:right], rng)
    else:
        part = _resized(_relit(part, rng) if rng.random() < 0.5 else part, scale)
    return part, photo.landmarks.moved(1.0, -left, -top).moved(scale)


def _relit(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Another exposure and white balance, before anything is planted."""
    curve = np.linspace(0, 1, 256) ** rng.uniform(0.75, 1.35)
    gains = rng.uniform(0.85, 1.0) * rng.uniform(0.93, 1.0, 3)
    table = np.clip(curve[:, None] * gains * 255, 0, 255).astype(np.uint8)
    return np.stack([table[:, c][pixels[..., c]] for c in range(3)], -1)


def _degraded(
    real: Pixels, edited: Pixels, rng: np.random.Generator
) -> tuple[Pixels, Pixels, float]:
    """Both through the same resizing, blur, noise and JPEG; and the resizing's factor."""
    scale = float(rng.uniform(0.6, 1.0)) if rng.random() < 0.35 else 1.0
    sigma = float(rng.uniform(0.3, 0.9)) if rng.random() < 0.3 else 0.0
    quality = int(rng.integers(60, 99)) if rng.random() < 0.85 else 0
    out: list[Pixels] = []
    for picture in (real, edited):
        small = _resized(picture, scale)
        if sigma:
            small = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma), dtype=np.uint8)
        if quality:
            _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            small = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]
        out.append(np.ascontiguousarray(small))
    return out[0], out[1], scale


def _resized(pixels: Pixels, scale: float) -> Pixels:
    if scale == 1.0:
        return pixels
    height, width = pixels.shape[:2]
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=way), dtype=np.uint8)


def _jittered(box: Box, scale: float, rng: np.random.Generator) -> Box:
    """A box as a detector would find it: each side off by a few percent."""
    w, h = box[2] - box[0], box[3] - box[1]
    d = rng.normal(0, 0.03, 4) * (w, h, w, h)
    return (
        (box[0] + d[0]) * scale, (box[1] + d[1]) * scale,
        (box[2] + d[2]) * scale, (box[3] + d[3]) * scale,
    )  # fmt: skip


def _large(region: Region) -> bool:
    return area_px(region.box_px) >= 64.0
