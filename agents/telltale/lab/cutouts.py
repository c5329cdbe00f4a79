"""People cut out of studio photographs, and photographs without people to put behind them.

In: a folder of photographs with landmarks (``telltale.lab.landmarks``), split by person. Out:
``Layer``s (pixels, alpha, landmarks) and backgrounds (H x W x 3 uint8). Raises ``LookupError``
if the folder holds no usable photograph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.lab import landmarks as marks
from telltale.lab.persons import people_of
from telltale.regions import Pixels

LAYER_PX = 900
"""Side of a stored cut-out: its face is then about 335 px wide, enlarged for bigger ones."""

NO_PEOPLE = (
    "skimage/data/brick.png", "skimage/data/chelsea.png", "skimage/data/coffee.png",
    "skimage/data/coins.png", "skimage/data/grass.png", "skimage/data/gravel.png",
    "skimage/data/hubble_deep_field.jpg", "skimage/data/ihc.png",
    "skimage/data/motorcycle_left.png", "skimage/data/page.png", "skimage/data/retina.jpg",
    "skimage/data/rocket.jpg", "skimage/data/text.png", "sklearn/datasets/images/china.jpg",
    "sklearn/datasets/images/flower.jpg",
)  # fmt: skip
"""Photographs inside installed packages that show no person."""


@dataclass(frozen=True)
class Layer:
    """A person cut out: pixels and alpha (0 to 255), each halved four times over so that small
    copies are quick to draw, and landmarks of the largest.

    ``seen`` tells of face, left and right eye, nose, mouth, left and right ear whether they are in
    sight; ``turns`` whether the head may be slid to look turned.
    """

    person: str
    pixels: tuple[Pixels, ...]
    alpha: tuple[NDArray[np.uint8], ...]
    points: marks.Points
    seen: tuple[bool, ...]
    turns: bool = True


def held_out(person: str) -> bool:
    """Whether a person is kept for measuring: about one in five, by hash of the name."""
    return hashlib.sha256(f"telltale detector {person}".encode()).digest()[0] % 5 == 0


def layers(faces: Path, measuring: bool) -> list[Layer]:
    """Cut-outs of the people to train on, or of those kept for measuring. See ``held_out``."""
    people = people_of(faces, sorted(faces.rglob("*.jpg")))
    chosen = {path: person for path, person in people.items() if held_out(person) == measuring}
    cut = [layer for path, who in chosen.items() if (layer := _cut(path, who)) is not None]
    if not cut:
        raise LookupError(f"no photographs with landmarks under {faces}")
    return cut


def backgrounds(folders: Iterable[Path] = (), packaged: bool = True) -> list[Pixels]:
    """Photographs without people, at most 1024 px wide: of packages, then of ``folders``."""
    paths: list[Path] = []
    for name in NO_PEOPLE if packaged else ():
        package, _, rest = name.partition("/")
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            paths.append(Path(spec.origin).parent / rest)
    for folder in folders:
        paths += sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    return [_at_most(marks.photograph(p), 1024) for p in paths if p.exists()]


def _cut(path: Path, person: str) -> Layer | None:
    pixels = marks.photograph(path)
    try:
        found = marks.beside(path, pixels)
    except LookupError:
        return None
    ears = marks.ears_visible(pixels, found)
    scale = LAYER_PX / max(pixels.shape[:2])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    points = found.points * scale
    alpha = _alpha(small, points)
    return Layer(person, halved(small), halved(alpha), points, (True,) * 5 + ears)


def halved(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """The picture, and it halved one to four times over."""
    height, width = picture.shape[:2]
    sizes = [(width >> n, height >> n) for n in range(5)]
    return tuple(
        np.asarray(cv2.resize(picture, s, interpolation=cv2.INTER_AREA), np.uint8) for s in sizes
    )


def matte(pixels: Pixels, points: marks.Points) -> NDArray[np.uint8]:
    """Alpha of the person in a studio photograph of any size, H x W, 0 to 255."""
    height, width = pixels.shape[:2]
    scale = LAYER_PX / max(height, width)
    size = (round(width * scale), round(height * scale))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    alpha = _alpha(small, points * scale)
    return np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _alpha(pixels: Pixels, points: marks.Points) -> NDArray[np.uint8]:
    """Alpha of a person before an even studio wall: unlike the wall, or inside the face."""
    height, width = pixels.shape[:2]
    lab = cv2.cvtColor(cv2.GaussianBlur(pixels, (0, 0), 1.0), cv2.COLOR_RGB2LAB).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
    wall = np.zeros((height, width), bool)
    wall[: height // 8] = True
    wall[: height * 2 // 3, : width // 10] = wall[: height * 2 // 3, -width // 10 :] = True
    wall &= np.abs(lab - np.median(lab[wall], 0)).max(-1) < 25
    fit, *_ = np.linalg.lstsq(terms[wall], lab[wall], rcond=None)
    away = np.linalg.norm((lab - terms @ fit) * np.array([0.6, 1.6, 1.6]), axis=-1)
    sure = (away > 11).astype(np.uint8)
    for name in ("jaw", "nose", "ear_left", "ear_right"):
        hull = cv2.convexHull(points[list(marks.GROUPS[name])].astype(np.int32))
        cv2.fillConvexPoly(sure, hull, 1)
    sure = cv2.morphologyEx(sure, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    sure = cv2.morphologyEx(sure, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    outlines, _ = cv2.findContours(sure, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    solid = np.zeros_like(sure)
    cv2.drawContours(solid, [max(outlines, key=cv2.contourArea)], -1, 255, -1)
    solid = cv2.erode(solid, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.GaussianBlur(solid, (0, 0), 1.2), dtype=np.uint8)


def _at_most(pixels: Pixels, side_px: int) -> Pixels:
    scale = side_px / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
