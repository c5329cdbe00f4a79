"""Where a cue can be seen: region types, and the geometry that yields them.

In: the boxes a detector found (face, eye, nose, mouth, ear, object), in pixels of the upright
picture. Out: those boxes with ids, joined by the regions that follow from them by geometry
(brow, hair, skin, jaw, neck, background, image; nose, mouth and ears too where both eyes were found and
they were not), and square crops of them. Pure functions;
they raise ``ValueError`` for a box without area, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""An upright sRGB picture or crop: H x W x 3, uint8."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright picture; x1 and y1 are exclusive."""

DetectedType = Literal["face", "eye", "nose", "mouth", "ear", "object"]
RegionType = Literal[
    "face", "eye", "nose", "mouth", "ear", "object",
    "brow", "hair", "skin", "jaw", "neck", "background", "image",
]  # fmt: skip
CueRegion = Literal[
    "eyes", "iris", "brow", "nose", "lips", "teeth", "ear", "hair", "skin", "jaw", "neck",
    "hand", "accessory", "text", "background", "light", "compression",
]  # fmt: skip

PARTS: tuple[DetectedType, ...] = ("eye", "nose", "mouth", "ear")
ONCE = ("nose", "mouth")
CUE_REGIONS: tuple[CueRegion, ...] = get_args(CueRegion)

WHERE: dict[CueRegion, tuple[RegionType, ...]] = {
    "eyes": ("eye",),
    "iris": ("eye",),
    "brow": ("brow",),
    "nose": ("nose",),
    "lips": ("mouth",),
    "teeth": ("mouth",),
    "ear": ("ear",),
    "hair": ("hair",),
    "skin": ("skin",),
    "jaw": ("jaw",),
    "neck": ("neck",),
    "hand": ("object", "image"),
    "accessory": ("ear", "face"),
    "text": ("object", "image"),
    "background": ("background", "image"),
    "light": ("face", "image"),
    "compression": ("face", "image"),
}
"""The regions of a picture in which a cue of that region type is looked for, best first."""


@dataclass(frozen=True)
class Region:
    """One region of one picture.

    ``region_id`` is ``<face index>.<type>[.<n>]`` (``0.eye.1`` is the second eye from the left
    of the first face), ``image`` for the whole picture or ``object.<n>``. ``score`` is the
    detector's confidence, 0 to 1, or that of the face it was derived from.
    """

    region_id: str
    type: RegionType
    box_px: Box
    score: float
    face: int | None = None
    label: str | None = None


def area_px(box: Box) -> float:
    """Area in square pixels; 0 for a box turned inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0 to 1."""
    both = area_px((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area_px(a) + area_px(b) - both
    return both / union if union > 0 else 0.0


def clip_box(box: Box, width_px: int, height_px: int) -> Box:
    """The part of ``box`` inside a picture of that size."""
    x0, y0, x1, y1 = box
    return (
        min(max(x0, 0.0), width_px), min(max(y0, 0.0), height_px),
        min(max(x1, 0.0), width_px), min(max(y1, 0.0), height_px),
    )  # fmt: skip


def derived_boxes(face: Box) -> dict[RegionType, Box]:
    """Regions that follow from a face box by proportion, unclipped.

    The proportions are those of an upright frontal face box from brow line to chin and
    cheek to cheek (anthropometric thirds); a turned face gets them approximately.
    """
    x0, y0, x1, y1 = face
    w, h = x1 - x0, y1 - y0
    return {
        "brow": (x0 + 0.08 * w, y0 + 0.08 * h, x1 - 0.08 * w, y0 + 0.34 * h),
        "hair": (x0 - 0.15 * w, y0 - 0.45 * h, x1 + 0.15 * w, y0 + 0.15 * h),
        "skin": (x0 + 0.10 * w, y0 + 0.02 * h, x1 - 0.10 * w, y0 + 0.80 * h),
        "jaw": (x0 - 0.05 * w, y0 + 0.60 * h, x1 + 0.05 * w, y1 + 0.10 * h),
        "neck": (x0 + 0.05 * w, y1 - 0.02 * h, x1 - 0.05 * w, y1 + 0.40 * h),
    }


# centre right and down of the point between the pupils, then width and height; unit: pupil distance.
# Medians over the landmarks of 64 people of the Face Research Lab London Set, those trained on.
_FROM_EYES: dict[DetectedType, tuple[tuple[float, float, float, float], ...]] = {
    "nose": ((0.0, 0.33, 0.63, 0.88),),
    "mouth": ((0.0, 1.08, 0.87, 0.39),),
    "ear": ((-1.17, 0.44, 0.34, 0.90), (1.17, 0.44, 0.34, 0.90)),
}


def parts_from_eyes(left: Box, right: Box) -> dict[DetectedType, tuple[Box, ...]]:
    """Where nose, mouth and ears lie by the eyes of an upright or tilted frontal face, unclipped."""
    x, y = (left[0] + left[2]) / 2, (left[1] + left[3]) / 2
    across, down = (right[0] + right[2]) / 2 - x, (right[1] + right[3]) / 2 - y
    unit = float(np.hypot(across, down))
    x, y = x + across / 2, y + down / 2

    def box(dx: float, dy: float, w: float, h: float) -> Box:
        cx, cy = x + dx * across - dy * down, y + dx * down + dy * across
        return (cx - w * unit / 2, cy - h * unit / 2, cx + w * unit / 2, cy + h * unit / 2)

    return {kind: tuple(box(*where) for where in places) for kind, places in _FROM_EYES.items()}


def regions_of(
    found: Sequence[tuple[DetectedType, Box, float, str | None]],
    width_px: int,
    height_px: int,
    max_faces: int = 8,
) -> list[Region]:
    """Number what a detector found, attach parts to faces, add the derived regions.

    ``found`` holds (type, box, score, label). Parts belong to the face whose box, grown by a
    quarter, holds their centre (the smallest such face); parts without a face are dropped, as
    no cue can be read in them. A nose, mouth or ear that was not found is placed by both eyes, with
    the face's score. Faces are kept by area, largest first, at most ``max_faces``,
    and numbered in that order. The last region is always the whole image.
    """
    faces = sorted((f for f in found if f[0] == "face"), key=lambda f: -area_px(f[1]))[:max_faces]
    parts: dict[int, list[tuple[DetectedType, Box, float]]] = {i: [] for i in range(len(faces))}
    for kind, box, score, _ in found:
        if kind in PARTS and (face := owner(box, [f[1] for f in faces])) is not None:
            parts[face].append((kind, box, score))

    regions: list[Region] = []
    for i, (_, box, score, _) in enumerate(faces):
        regions.append(Region(f"{i}.face", "face", clip_box(box, width_px, height_px), score, i))
        for kind, placed in _placed(parts[i], score, width_px, height_px).items():
            for n, (part, part_score) in enumerate(placed):
                name = f"{i}.{kind}" if kind in ONCE else f"{i}.{kind}.{n}"
                regions.append(Region(name, kind, part, part_score, i))
        for derived, derived_box in derived_boxes(box).items():
            inside = clip_box(derived_box, width_px, height_px)
            if area_px(inside) >= 0.5 * area_px(derived_box):
                regions.append(Region(f"{i}.{derived}", derived, inside, score, i))
    objects = [f for f in found if f[0] == "object"]
    for n, (_, box, score, label) in enumerate(sorted(objects, key=lambda f: -f[2])):
        inside = clip_box(box, width_px, height_px)
        regions.append(Region(f"object.{n}", "object", inside, score, None, label))
    if faces and (empty := _background(faces[0][1], width_px, height_px)) is not None:
        regions.append(Region("background", "background", empty, 1.0))
    regions.append(Region("image", "image", (0.0, 0.0, width_px, height_px), 1.0))
    return [r for r in regions if area_px(r.box_px) > 0]


def regions_for(cue_region: CueRegion, regions: Iterable[Region]) -> list[Region]:
    """The regions in which a cue of that type is looked for: those of its first type present."""
    known = list(regions)
    for wanted in WHERE[cue_region]:
        if here := [r for r in known if r.type == wanted]:
            return here
    return []


def crop(picture: Pixels | Image.Image, box: Box, size_px: int, scale: float = 1.0) -> Pixels:
    """A square window around ``box``, ``scale`` times its longer side, as size x size x 3 uint8.

    The window is moved, then shrunk, to stay inside the picture, so no padding is invented.
    Downscaling averages (antialiased bilinear); upscaling is bilinear. For several windows of one
    picture give an ``Image``: pixels are copied into one at every call.
    Raises ``ValueError`` for a box without area.
    """
    if area_px(box) <= 0:
        raise ValueError(f"box {box} has no area")
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    width, height = image.size
    side = min(max(box[2] - box[0], box[3] - box[1]) * scale, width, height)
    side = max(side, 1.0)
    x0 = min(max((box[0] + box[2] - side) / 2, 0.0), width - side)
    y0 = min(max((box[1] + box[3] - side) / 2, 0.0), height - side)
    window = image.resize(
        (size_px, size_px), Image.Resampling.BILINEAR, box=(x0, y0, x0 + side, y0 + side)
    )
    return np.asarray(window)


def owner(part: Box, faces: Sequence[Box]) -> int | None:
    """Number of the smallest face that holds the middle of a part, or has it within a quarter beside."""
    x, y = (part[0] + part[2]) / 2, (part[1] + part[3]) / 2
    holding = [
        (area_px(f), i)
        for i, f in enumerate(faces)
        if f[0] - 0.25 * (f[2] - f[0]) <= x <= f[2] + 0.25 * (f[2] - f[0])
        and f[1] - 0.25 * (f[3] - f[1]) <= y <= f[3] + 0.25 * (f[3] - f[1])
    ]
    return min(holding)[1] if holding else None


def _placed(
    parts: Sequence[tuple[DetectedType, Box, float]], score: float, width_px: int, height_px: int
) -> dict[DetectedType, list[tuple[Box, float]]]:
    """The best parts of one face from left to right, and those that follow from its eyes."""
    placed: dict[DetectedType, list[tuple[Box, float]]] = {}
    for kind in PARTS:
        own = sorted((p for p in parts if p[0] == kind), key=lambda p: -p[2])
        best = own[: 1 if kind in ONCE else 2]
        placed[kind] = [(clip_box(b, width_px, height_px), s) for _, b, s in best]
    if len(placed["eye"]) == 2:
        left, right = sorted(b for b, _ in placed["eye"])
        for kind, boxes in parts_from_eyes(left, right).items():
            for box in boxes:
                inside = clip_box(box, width_px, height_px)
                if not any(
                    kind in ONCE or _same_side(b, box, left, right) for b, _ in placed[kind]
                ) and area_px(inside) >= 0.5 * area_px(box):
                    placed[kind].append((inside, score))
    return {kind: sorted(found) for kind, found in placed.items()}


def _same_side(one: Box, other: Box, left: Box, right: Box) -> bool:
    middle = left[0] + left[2] + right[0] + right[2]  # four times
    return (2 * (one[0] + one[2]) < middle) == (2 * (other[0] + other[2]) < middle)


def _background(face: Box, width_px: int, height_px: int) -> Box | None:
    """The larger of the strips left and right of the largest face, if at least 32 px wide."""
    w = face[2] - face[0]
    left: Box = (0.0, 0.0, max(0.0, face[0] - 0.3 * w), float(height_px))
    right: Box = (min(float(width_px), face[2] + 0.3 * w), 0.0, float(width_px), float(height_px))
    best = max(left, right, key=area_px)
    return best if best[2] - best[0] >= 32 else None
