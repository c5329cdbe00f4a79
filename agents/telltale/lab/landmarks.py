"""Where the features of a face lie: 189 points, their names, and the boxes that follow.

In: a photograph with ``<stem>.landmarks.json`` beside it (``{"points_px": [[x, y], ...]}``, the
scheme of the Face Research Lab London Set), or regions that a detector found. Out:
``Landmarks``, and boxes in the form ``telltale.regions.regions_of`` takes. Raises ``ValueError``
for points of another scheme, ``LookupError`` where a photograph has no landmarks of any kind.

Box conventions (the detector is trained on exactly these):

- face: top of the brows to the chin, cheek to cheek (ears excluded), grown by 5 % on each side;
- eye: the crease of the upper lid to the lower lid, corner to corner, grown by 12 % of its width;
- nose: from between the eyes to the base, wing to wing, grown by 6 %;
- mouth: the outer lips, grown by 6 % of its width;
- ear: the whole visible ear, grown by 4 %; an ear under hair has no box.

"Left" and "right" are those of the viewer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from telltale.regions import Box, DetectedType, Pixels, Region

Points = NDArray[np.float64]
"""N x 2: x, y in pixels of the upright picture."""
Found = tuple[DetectedType, Box, float, str | None]

GroupName = Literal[
    "eye_left", "eye_right", "iris_left", "iris_right", "lids_left", "lids_right",
    "brow_left", "brow_right", "nose", "nose_wings", "lips_outer", "lips_inner", "lip_upper",
    "lip_lower", "jaw", "ear_left", "ear_right", "hairline", "hair_outline", "neck", "cheeks",
]  # fmt: skip

COUNT = 189
GROUPS: dict[GroupName, tuple[int, ...]] = {
    # outlines run clockwise as the viewer sees them, from their leftmost point
    "eye_left": (18, 19, 20, 21, 22, 30, 29, 28),
    "eye_right": (23, 24, 25, 26, 27, 33, 32, 31),
    "iris_left": (2, 3, 4, 5, 6, 7, 8, 9),
    "iris_right": (10, 11, 12, 13, 14, 15, 16, 17),
    "lids_left": (18, 34, 35, 36, 37, 38, 22, 30, 29, 28),
    "lids_right": (23, 39, 40, 41, 42, 43, 27, 33, 32, 31),
    "brow_left": (71, 72, 73, 74, 75, 76, 84, 83),
    "brow_right": (77, 78, 79, 80, 81, 82, 86, 85),
    "nose": (50, 51, 52, 53, 54, 61, 62, 63, 64, 55, 69, 68, 67, 66, 60, 59, 58, 57, 56),
    "nose_wings": (61, 62, 63, 64, 65, 66, 67, 68, 69, 70),
    "lips_outer": (87, 88, 89, 90, 91, 92, 93, 108, 107, 106, 105, 104),
    "lips_inner": (87, 94, 95, 96, 97, 98, 93, 103, 102, 101, 100, 99),
    "lip_upper": (87, 88, 89, 90, 91, 92, 93, 98, 97, 96, 95, 94),
    "lip_lower": (87, 99, 100, 101, 102, 103, 93, 108, 107, 106, 105, 104),
    "jaw": (109, 110, 111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114, 113, 112),
    "ear_left": (115, 109, 185, 110, 186, 111, 119, 118, 117, 116),
    "ear_right": (112, 120, 121, 122, 123, 124, 114, 188, 113, 187),
    "hairline": (134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144),
    "hair_outline": (146, 147, 148, 149, 150, 151, 152, 153, 154, 155, 156),
    "neck": (145, 183, 184, 157),
    "cheeks": (158, 159, 160, 161, 162, 163, 164, 165, 166, 167, 168, 169),
}


@dataclass(frozen=True)
class Landmarks:
    """The 189 points of one face: ``points`` is 189 x 2 float64 in pixels of its picture."""

    points: Points

    def __post_init__(self) -> None:
        if self.points.shape != (COUNT, 2):
            raise ValueError(f"landmarks must be {COUNT} x 2 points, got {self.points.shape}")

    def group(self, name: GroupName) -> Points:
        """The points of one feature, N x 2, in outline order."""
        return self.points[list(GROUPS[name])]

    def moved(self, scale: float = 1.0, dx: float = 0.0, dy: float = 0.0) -> Landmarks:
        """The same face after scaling the picture by ``scale``, then shifting it by dx, dy px."""
        return Landmarks(self.points * scale + np.array([dx, dy]))

    @property
    def eye_distance_px(self) -> float:
        """Distance between the pupils in pixels: the unit in which edits measure."""
        return float(np.hypot(*(self.points[1] - self.points[0])))


def photograph(path: Path) -> Pixels:
    """An upright sRGB picture of a file: H x W x 3 uint8. Raises what Pillow raises."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read(path: Path) -> Landmarks:
    """Landmarks of a ``.landmarks.json`` file. Raises ``ValueError`` naming it if malformed."""
    try:
        points = np.asarray(json.loads(path.read_text())["points_px"], dtype=np.float64)
        return Landmarks(points)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no 189-point landmarks under points_px: {error}") from error


def beside(path: Path, pixels: Pixels | None = None) -> Landmarks:
    """Landmarks of a photograph: its own file, or those of the same person's other photograph.

    In the latter case the points are carried over by dense optical flow (DIS, Kroeger et al.
    2016) between the two pictures, which a smile or a small turn of the head leaves usable.
    ``pixels`` saves reading the picture again. Raises ``LookupError`` where neither exists.
    """
    own = path.with_suffix(".landmarks.json")
    if own.exists():
        return read(own)
    others = sorted(path.parent.glob(f"{path.stem.split('_')[0]}_*.landmarks.json"))
    for other in others:
        picture = path.parent / (other.name.removesuffix(".landmarks.json") + path.suffix)
        if picture.exists():
            here = photograph(path) if pixels is None else pixels
            return carried(read(other), photograph(picture), here)
    raise LookupError(f"no landmarks beside {path}: expected {own.name}")


def carried(landmarks: Landmarks, source: Pixels, target: Pixels) -> Landmarks:
    """Landmarks of ``source`` carried to ``target`` (same person, like pose) by optical flow."""
    scale = 128.0 / landmarks.eye_distance_px
    before, after = _grey(source, scale), _grey(target, scale)
    height, width = before.shape
    shift = _shift(before, after, landmarks.points * scale)
    move = np.array([[1.0, 0.0, -shift[0]], [0.0, 1.0, -shift[1]]])
    level = cv2.warpAffine(after, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = cv2.GaussianBlur(flow_of.calc(before, np.asarray(level), None), (0, 0), 2.0)
    at = np.rint(landmarks.points * scale).astype(int)
    x, y = at[:, 0].clip(0, width - 1), at[:, 1].clip(0, height - 1)
    moved = flow[y, x].astype(np.float64) + shift
    return Landmarks(landmarks.points + moved / scale)


def _shift(before: NDArray[np.uint8], after: NDArray[np.uint8], points: Points) -> Points:
    """By how many pixels the upper face moved: where its patch matches best (correlation)."""
    x0, y0, x1, y1 = _around(points[[0, 1, 71, 82, 55]], 0.1, 0.1)
    patch = before[max(0, int(y0)) : int(y1), max(0, int(x0)) : int(x1)]
    if min(patch.shape) < 8 or patch.shape[0] > after.shape[0] or patch.shape[1] > after.shape[1]:
        return np.zeros(2)
    match = cv2.matchTemplate(after, patch, cv2.TM_CCOEFF_NORMED)
    _, _, _, best = cv2.minMaxLoc(match)
    return np.array([best[0] - max(0, int(x0)), best[1] - max(0, int(y0))], dtype=np.float64)


def detected(landmarks: Landmarks) -> list[Found]:
    """The boxes of a face as a perfect detector would find them, both ears included.

    Conventions are in the module's docstring. Unclipped; scores are 1.0, labels are None.
    """
    jaw = landmarks.group("jaw")
    brows = np.vstack([landmarks.group("brow_left"), landmarks.group("brow_right")])
    face = _around(np.vstack([jaw, brows]), 0.05, 0.05)
    found: list[Found] = [("face", face, 1.0, None)]
    for lids in (landmarks.group("lids_left"), landmarks.group("lids_right")):
        found.append(("eye", _around(lids, 0.12, None), 1.0, None))
    found.append(("nose", _around(landmarks.group("nose"), 0.06, 0.06), 1.0, None))
    found.append(("mouth", _around(landmarks.group("lips_outer"), 0.06, None), 1.0, None))
    for ear in (landmarks.group("ear_left"), landmarks.group("ear_right")):
        found.append(("ear", _around(ear, 0.04, 0.04), 1.0, None))
    return found


def ears_visible(pixels: Pixels, landmarks: Landmarks) -> tuple[bool, bool]:
    """Whether the left and the right ear can be seen: nearer in colour to cheek than to hair."""
    cheek = np.median(_lab(pixels, landmarks.group("cheeks")), 0)
    hair = np.median(_lab(pixels, landmarks.points[149:154] * 0.9 + landmarks.points[139] * 0.1), 0)
    seen: list[bool] = []
    for ear in (landmarks.group("ear_left"), landmarks.group("ear_right")):
        rings = [(ear - ear.mean(0)) * r + ear.mean(0) for r in (0.15, 0.4, 0.65)]
        colour = _lab(pixels, np.vstack(rings))
        weight = np.array([0.5, 1.0, 1.0])  # an ear is lit otherwise than a cheek
        to_skin = np.linalg.norm((colour - cheek) * weight, axis=1)
        to_hair = np.linalg.norm((colour - hair) * weight, axis=1)
        seen.append(float((to_skin < to_hair).mean()) >= 0.45)
    return seen[0], seen[1]


def face_parts(path: Path, pixels: Pixels | None = None) -> list[Found]:
    """Boxes of a photograph from the landmarks beside it; ears only where they can be seen.

    Raises ``LookupError`` where neither it nor the person's other photograph has landmarks.
    """
    pixels = photograph(path) if pixels is None else pixels
    landmarks = beside(path, pixels)
    found = detected(landmarks)
    ears = [f for f, seen in zip(found[-2:], ears_visible(pixels, landmarks), strict=True) if seen]
    return found[:-2] + ears


def from_boxes(regions: Sequence[Region], face: int = 0) -> Landmarks:
    """Approximate landmarks of a face from the boxes of a detector.

    The mean shape of 80 people is stretched into the face box, and each part's points into that
    part's box where it was found. Raises ``LookupError`` if no face of that number is there.
    """
    mine = [r for r in regions if r.face == face]
    of_face = next((r.box_px for r in mine if r.type == "face"), None)
    if of_face is None:
        raise LookupError(f"no face {face} among {len(regions)} regions")
    mean = Landmarks(mean_shape())
    boxes = detected(mean)
    points = _stretched(mean.points, boxes[0][1], of_face)
    for indices, box in _parts_of_mean(boxes):
        expected = _stretched(np.array(box).reshape(2, 2), boxes[0][1], of_face)
        kind = indices[0]
        near = [
            r.box_px
            for r in mine
            if r.type == kind and _holds(r.box_px, expected.mean(0), float(np.ptp(expected[:, 0])))
        ]
        if near:
            chosen = list(indices[1])
            points[chosen] = _stretched(mean.points[chosen], box, near[0])
    return Landmarks(points)


def _parts_of_mean(
    boxes: Sequence[Found],
) -> Iterable[tuple[tuple[str, tuple[int, ...]], Box]]:
    eye_left = (0, *range(2, 10), *range(18, 23), *range(28, 31), *range(34, 39), *range(44, 47))
    eye_right = (1, *range(10, 18), *range(23, 28), *range(31, 34), *range(39, 44), *range(47, 50))
    nose = (*range(50, 71), *range(179, 183))
    indices = (eye_left, eye_right, nose, tuple(range(87, 109)))
    kinds = ("eye", "eye", "nose", "mouth", "ear", "ear")
    ears = ((*range(115, 120),), (*range(120, 125),))
    for kind, chosen, found in zip(kinds, (*indices, *ears), boxes[1:], strict=True):
        yield (kind, chosen), found[1]


def _holds(box: Box, at: Points, slack_px: float) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return bool(np.hypot(x - at[0], y - at[1]) < slack_px)


def _stretched(points: Points, old: Box, new: Box) -> Points:
    origin, size = np.array(old[:2]), np.array([old[2] - old[0], old[3] - old[1]])
    stretched = (points - origin) / size * np.array([new[2] - new[0], new[3] - new[1]])
    return np.asarray(stretched + np.array(new[:2]))


def _around(points: Points, grow_x: float, grow_y: float | None) -> Box:
    """The box around points; margins are shares of its width and height (None: of its width)."""
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    dx = grow_x * (x1 - x0)
    dy = dx if grow_y is None else grow_y * (y1 - y0)
    return float(x0 - dx), float(y0 - dy), float(x1 + dx), float(y1 + dy)


def _grey(pixels: Pixels, scale: float) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.uint8)


def _lab(pixels: Pixels, points: Points) -> NDArray[np.float64]:
    """Mean colour (OpenCV's 8-bit L*a*b*) of a small patch at each point."""
    height, width = pixels.shape[:2]
    out = []
    for x, y in np.rint(points).astype(int):
        patch = pixels[max(0, y - 3) : max(1, y + 4), max(0, x - 3) : max(1, x + 4)]
        if patch.size == 0 or not (0 <= x < width and 0 <= y < height):
            continue
        mean = np.rint(patch.reshape(-1, 3).mean(0)).astype(np.uint8)[None, None]
        out.append(np.asarray(cv2.cvtColor(mean, cv2.COLOR_RGB2LAB)[0, 0], dtype=np.float64))
    return np.array(out) if out else np.zeros((1, 3))


@cache
def mean_shape() -> Points:
    """Mean of 80 people's landmarks, Procrustes-aligned; Face Research Lab London Set, CC BY 4.0."""
    text = files("telltale.lab").joinpath("mean_face.json").read_text()
    return np.asarray(json.loads(text)["points_px"], dtype=np.float64)
