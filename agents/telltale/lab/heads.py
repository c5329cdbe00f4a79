"""People in three dimensions: heads of any turn, nod and expression, in the skin of a photograph.

A head of the MakeHuman base mesh (``head_shapes.npz``, CC0), of drawn shape and expression, takes its
texture from a frontal photograph laid on it by landmarks, is turned and drawn without perspective;
what the photograph does not show (temples, nape, the far side of an ear) is coloured like cheek or
hair. After Zhu et al. 2016, "Face alignment across large poses" (face profiling), and Wood et al. 2021,
"Fake it till you make it" (drawn faces to learn from).

In: photographs with landmarks, a random generator. Out: ``Layer``s as of ``telltale.lab.cutouts``,
with the parts that can be seen. Heads that show the back are layers whose face is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from telltale.lab import landmarks as marks
from telltale.lab.cutouts import Layer, halved
from telltale.lab.sharing import Told
from telltale.regions import Pixels

Floats = NDArray[np.float64]

SIDE_PX = 448
UNIT_PX = 130.0
"""Pixels of a layer to a unit of the mesh (a tenth of a metre): a frontal face is 180 px wide."""
MIDDLE = 6.9
"""Height of the mesh, in its units, that lies in the middle of a layer."""
TIP = (53, 84)
"""Inner landmarks that are put on the tip of the nose: in profile it bounds the nose and the face."""

BODY, EYES, UPPER_TEETH, LOWER_TEETH, TONGUE, LONG_HAIR = 0, (1, 2), 3, 4, 5, 6
"""Groups of triangles in ``head_shapes.npz``."""

ANCHORS: dict[int, tuple[float, float]] = {
    18: (375, 387), 20: (412, 372), 22: (450, 392), 29: (412, 398), 23: (550, 392),
    25: (588, 372), 27: (625, 387), 32: (588, 398), 62: (449, 500), 67: (551, 500),
    55: (500, 518), 87: (434, 588), 93: (566, 588), 90: (500, 563), 106: (500, 622),
    129: (500, 698), 127: (405, 664), 131: (595, 664), 125: (332, 570), 133: (668, 570),
    109: (290, 400), 112: (710, 400), 111: (297, 515), 114: (703, 515), 115: (258, 374),
    120: (742, 374), 117: (264, 455), 122: (736, 455), 139: (500, 178), 151: (500, 60),
    149: (330, 180), 153: (670, 180), 145: (350, 735), 157: (650, 735),
}  # fmt: skip
"""Landmark to place on the mean head seen from the front, 300 px to a unit, (500, 500) at ``_CENTRE``."""
_CENTRE = (0.0, 6.96613)


@dataclass(frozen=True)
class _Mesh:
    """The mean head, its shapes, and what follows from them once."""

    vertices: Floats
    triangles: NDArray[np.int64]
    groups: NDArray[np.uint8]
    shapes: dict[str, Floats]
    marks: NDArray[np.int64]
    """The vertex at each of the 189 landmarks."""
    trusted: Floats
    """By vertex, 0 to 1: how well a frontal photograph shows it."""
    hair: Floats
    """By vertex, 0 to 1."""
    aside: NDArray[np.bool_]
    """By triangle: not hair that hangs before the face."""
    ear: NDArray[np.bool_]
    mouth: NDArray[np.bool_]
    """Inside the mouth."""
    tip: int


def heads(people: Sequence[Layer], seed: int, count: int, told: Told | None = None) -> list[Layer]:
    """``count`` heads in the skins of ``people``; the same seed and people draw the same."""
    drawn = []
    for number in range(count):
        rng = np.random.default_rng([seed, 3, number])
        drawn.append(head(rng, people[int(rng.integers(len(people)))]))
        if told is not None:
            told("heads", number + 1, count)
    return drawn


def head(rng: np.random.Generator, person: Layer, turn: tuple[float, float] | None = None) -> Layer:
    """One head in the skin of ``person``; ``turn`` is yaw and pitch in degrees, drawn where unset."""
    mesh = _mesh()
    yaw, pitch = _turn(rng) if turn is None else turn
    vertices = _shaped(rng, mesh)
    long = rng.random() < (0.2 if all(person.seen[5:]) else 0.8)
    colours, at = _colours(rng, mesh, person)
    turned = _rotated(vertices, yaw, pitch)
    triangles = mesh.triangles[(mesh.groups != LONG_HAIR) | (long & mesh.aside)]
    normal = _normals(turned, triangles)
    lit = _light(rng, normal)
    attributes = np.hstack([colours, at, mesh.trusted[:, None], lit])
    flat, depth = _drawn(turned, triangles, attributes)
    pixels, alpha = _painted(flat, person, depth)
    points = np.array(_to_px(turned[mesh.marks]))
    for number in TIP:
        points[number] = _to_px(turned[[mesh.tip]])[0]
    seen = _seen(mesh, turned, depth, yaw)
    return Layer(person.person, halved(pixels), halved(alpha), points, seen, turns=False)


def _turn(rng: np.random.Generator) -> tuple[float, float]:
    """Yaw and pitch, in degrees: mostly a turned face, at times the back of a head."""
    sign = -1.0 if rng.random() < 0.5 else 1.0
    yaw = rng.uniform(130, 180) if rng.random() < 0.08 else rng.uniform(0, 95)
    return sign * float(yaw), float(np.clip(rng.normal(0, 13), -32, 32))


def _shaped(rng: np.random.Generator, mesh: _Mesh) -> Floats:
    """The vertices of one person with one expression."""
    age = str(rng.choice(["young", "old", "child"], p=[0.6, 0.25, 0.15]))
    sex = str(rng.choice(["female", "male"]))
    out = mesh.shapes["base"].copy()
    races = ("african", "asian", "caucasian")
    for race, share in zip(races, rng.dirichlet([0.5] * 3), strict=True):
        out += share * mesh.shapes[f"race-{race}-{sex}-{age}"]
    if rng.random() < 0.6:
        weight = str(rng.choice(["minweight", "maxweight"]))
        out += rng.uniform(0, 0.8) * mesh.shapes[f"build-{sex}-{age}-{weight}"]
    for name, shape in mesh.shapes.items():
        if name.startswith("shape-") and rng.random() < 0.2:
            out += rng.uniform(0, 0.9) * shape
    if rng.random() < 0.65:
        for name, shape in mesh.shapes.items():
            if name.startswith("face-") and rng.random() < 0.12:
                out += rng.uniform(0, 0.8) * shape
    if rng.random() < 0.4:
        out += rng.uniform(0.2, 1.0) * mesh.shapes["face-mouth-open"]
    smooth = _normals(out, mesh.triangles)
    out += smooth * (mesh.hair * rng.uniform(0.02, 0.30))[:, None]
    head = out[mesh.marks]
    out[:, 1] += MIDDLE - float(head[[0, 1, 129], 1].mean()) - 0.1  # a child's head is lower
    wide = float(np.ptp(head[list(marks.GROUPS["jaw"]), 0]))
    out = (out - [0, MIDDLE, 0]) * (1.4 / wide) + [0, MIDDLE, 0]
    return np.asarray(out)


def _colours(rng: np.random.Generator, mesh: _Mesh, person: Layer) -> tuple[Floats, Floats]:
    """By vertex: the colour where the photograph is not trusted, and the place in the photograph."""
    photo, points = person.pixels[0], person.points
    fitted = RBFInterpolator(_anchors(), points[list(ANCHORS)], smoothing=0.5, degree=1)
    at = fitted(mesh.vertices[:, :2] * 100)
    skin = _colour(photo, points[list(marks.GROUPS["cheeks"])])
    top = points[list(marks.GROUPS["hair_outline"])[3:8]]
    hair = _colour(photo, top * 0.6 + points[139] * 0.4)
    if rng.random() < 0.3:
        hair = hair * 0 + rng.uniform(10, 200) * np.array([1.0, 0.85, 0.7])
    height = mesh.vertices[:, 1:2]
    streaks = np.sin(np.arctan2(mesh.vertices[:, 0], mesh.vertices[:, 2]) * rng.uniform(40, 160))
    streaks = 1 + rng.uniform(0, 0.35) * streaks * rng.uniform(0.3, 1, len(streaks))
    colours = np.broadcast_to(skin, (len(height), 3)).copy()
    colours[mesh.ear] *= [1.03, 0.93, 0.9]
    share = mesh.hair[:, None]
    colours = colours * (1 - share) + hair * streaks[:, None] * share
    cloth = rng.uniform(5, 250, 3)
    below = np.clip((rng.uniform(5.85, 6.1) - height) * 12, 0, 1)
    colours = colours * (1 - below) + cloth * below
    colours[mesh.mouth] = [60, 18, 18]
    for group, colour in (
        (UPPER_TEETH, (215, 205, 190)),
        (LOWER_TEETH, (200, 190, 175)),
        (TONGUE, (150, 75, 75)),
    ):
        colours[_of(mesh, group)] = np.array(colour) * rng.uniform(0.6, 1.1)
    colours[_of(mesh, LONG_HAIR)] = hair * streaks[_of(mesh, LONG_HAIR)][:, None]
    return colours, at


def _light(rng: np.random.Generator, normal: Floats) -> Floats:
    """By vertex: how much light falls on it, about 1, and gloss in grey levels."""
    light = np.array([rng.normal(0, 0.8), rng.normal(0.5, 0.5), rng.uniform(0.2, 1.2)])
    light /= np.linalg.norm(light)
    ambient = rng.uniform(0.35, 0.9)
    falls = ambient + (1.1 - ambient) * np.clip(normal @ light, 0, 1)
    half = light + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half)
    gloss = rng.uniform(0, 60) * np.clip(normal @ half, 0, 1) ** 24
    return np.stack([falls * rng.uniform(0.9, 1.15), gloss], 1)


def _painted(flat: Floats, person: Layer, depth: Floats) -> tuple[Pixels, NDArray[np.uint8]]:
    """Colour from the photograph where it is trusted, else the vertices'; light; a soft edge."""
    there = np.isfinite(depth)
    flat = np.where(there[..., None], flat, 0.0).astype(np.float32)
    at, edge = np.ascontiguousarray(flat[..., 3:5]), cv2.BORDER_REPLICATE
    taken = cv2.remap(person.pixels[0], at, None, cv2.INTER_LINEAR, borderMode=edge)
    inside = cv2.remap(person.alpha[0], at, None, cv2.INTER_LINEAR, borderMode=edge)
    share = cv2.GaussianBlur(flat[..., 5] * (inside > 250), (0, 0), 2.5)[..., None]
    mixed = taken * share + flat[..., :3] * (1 - share)
    out = np.clip(mixed * flat[..., 6:7] + flat[..., 7:8], 0, 255).astype(np.uint8)
    solid = cv2.morphologyEx(there.astype(np.uint8) * 255, cv2.MORPH_CLOSE, np.ones((3, 3)))
    hollow = (solid > 0) & ~there
    out = np.where(hollow[..., None], cv2.medianBlur(out, 5), out)
    solid = cv2.erode(solid, np.ones((3, 3), np.uint8))
    return np.asarray(out, np.uint8), np.asarray(cv2.GaussianBlur(solid, (0, 0), 0.9), np.uint8)


def _seen(mesh: _Mesh, turned: Floats, depth: Floats, yaw: float) -> tuple[bool, ...]:
    """Face, left and right eye, nose, mouth, left and right ear: whether it is in sight, by its landmarks."""
    points = turned[mesh.marks]
    x, y = np.round(_to_px(points)).astype(int).T.clip(0, SIDE_PX - 1)
    behind = cv2.erode(np.where(np.isfinite(depth), depth, -9).astype(np.float32), np.ones((5, 5)))
    sight = points[:, 2] >= behind[y, x] - 0.04
    names: tuple[marks.GroupName, ...] = ("lids_left", "lids_right", "nose", "lips_outer")
    eye_left, eye_right, nose, mouth = (float(sight[list(marks.GROUPS[n])].mean()) for n in names)
    sides: tuple[marks.GroupName, ...] = ("ear_left", "ear_right")
    ears = [float(sight[list(marks.GROUPS[n])[-6:]].mean()) for n in sides]
    front = abs(yaw) < 100
    return (front, front and eye_left > 0.45, front and eye_right > 0.45, front and nose > 0.3,
            front and mouth > 0.35, ears[0] > 0.6, ears[1] > 0.6)  # fmt: skip


def _drawn(
    vertices: Floats, triangles: NDArray[np.int64], attributes: Floats
) -> tuple[Floats, Floats]:
    """Attributes and depth by pixel, nearest surface first: points strewn on each triangle."""
    corners = vertices[triangles].astype(np.float32)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    shown = across[:, 2] > 0
    triangles, corners = triangles[shown], corners[shown]
    edges = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
    cuts = np.clip(np.ceil(edges * UNIT_PX * 1.25), 1, 80).astype(int)
    which, shares = [], []
    for cut in np.unique(cuts):
        chosen = np.flatnonzero(cuts == cut)
        i, j = (
            a[np.add(*np.mgrid[: cut + 1, : cut + 1]) <= cut]
            for a in np.mgrid[: cut + 1, : cut + 1]
        )
        share = (np.stack([i, j, cut - i - j], 1) / cut).astype(np.float32)
        which.append(np.repeat(chosen, len(share)))
        shares.append(np.tile(share, (len(chosen), 1)))
    number, weight = np.concatenate(which), np.concatenate(shares)
    points = np.einsum("nk,nkc->nc", weight, corners[number])
    x, y = np.round(_to_px(points)).astype(int).T
    inside = (x >= 0) & (x < SIDE_PX) & (y >= 0) & (y < SIDE_PX)
    order = np.flatnonzero(inside)
    order = order[np.argsort(points[order, 2], kind="stable")]
    place = y[order] * SIDE_PX + x[order]
    nearest = np.full(SIDE_PX * SIDE_PX, -1)
    nearest[place] = order
    hit = nearest >= 0
    chosen = nearest[hit]
    flat = np.full((SIDE_PX * SIDE_PX, attributes.shape[1]), np.nan)
    flat[hit] = np.einsum("nk,nkc->nc", weight[chosen], attributes[triangles[number[chosen]]])
    depth = np.full(SIDE_PX * SIDE_PX, -np.inf)
    depth[hit] = points[chosen, 2]
    return flat.reshape(SIDE_PX, SIDE_PX, -1), depth.reshape(SIDE_PX, SIDE_PX)


@cache
def _mesh() -> _Mesh:
    with as_file(files("telltale.lab") / "head_shapes.npz") as path, np.load(path) as held:
        triangles, groups = held["triangles"].astype(np.int64), held["groups"]
        deltas = held["shapes"].astype(np.float64) * held["scales"][:, None, None]
        shapes = dict(zip(map(str, held["names"]), deltas, strict=True))
        shapes["base"] = held["vertices"].astype(np.float64)
    young = [s for n, s in shapes.items() if n.startswith("race-") and n.endswith("-young")]
    mean = shapes["base"] + np.mean(young, 0)
    body = triangles[groups == BODY]
    normal = _normals(mean, triangles[groups != LONG_HAIR])
    inside = np.zeros(len(mean), bool)
    inside[np.unique(body)] = True
    x, y, z = mean.T
    ear = inside & (np.abs(x) > 0.66) & (y > 6.85) & (y < 7.45) & (z > 0.1) & (z < 0.62)
    mouth = inside & (np.abs(x) < 0.3) & (y > 6.3) & (y < 6.9) & (z < 1.22) & (normal[:, 2] < 0.9)
    mouth &= z > 0.45
    mouth &= np.hypot(x, y - 6.65) < 0.35
    trusted = np.clip((normal[:, 2] - 0.12) / 0.3, 0, 1) * ~ear * ~mouth
    trusted[np.unique(triangles[(groups >= UPPER_TEETH)])] = 0
    trusted *= np.clip((y - 6.1) * 8, 0, 1)
    line = np.interp(
        z, [-0.8, 0.1, 0.30, 0.55, 0.75, 1.0, 1.3], [6.55, 6.75, 7.3, 7.45, 7.6, 7.9, 8.05]
    )
    hair = np.clip((y - line) / 0.08, 0, 1) * inside * ~ear
    points = marks.mean_shape()
    front = np.flatnonzero(inside & (normal[:, 2] > 0.05) & ~mouth)
    eyes = np.unique(triangles[np.isin(groups, EYES)])
    front = np.union1d(front, np.union1d(eyes, np.flatnonzero(ear)))
    fitted = RBFInterpolator(points[list(ANCHORS)], _anchors(), smoothing=0.5, degree=1)
    near = cKDTree(mean[front, :2] * 100).query(fitted(points))[1]
    tip = int(front[np.argmax(np.where(np.abs(x[front]) < 0.1, z[front], -9))])
    middle = mean[triangles].mean(1)
    aside = (middle[:, 2] < 0.55) | (middle[:, 1] > 8.1)
    return _Mesh(
        mean, triangles, groups, shapes, front[near], trusted, hair, aside, ear, mouth, tip
    )


def _anchors() -> Floats:
    """The places of ``ANCHORS`` in hundredths of a unit of the mesh, y upwards."""
    at = (np.array(list(ANCHORS.values())) - 500) / 300 * [1, -1] + _CENTRE
    return np.asarray(at * 100)


def _of(mesh: _Mesh, group: int) -> NDArray[np.int64]:
    return np.unique(mesh.triangles[mesh.groups == group])


def _colour(photo: Pixels, points: Floats) -> Floats:
    x, y = np.round(points).astype(int).T
    near = photo[y.clip(0, photo.shape[0] - 1), x.clip(0, photo.shape[1] - 1)]
    return np.asarray(np.median(near, 0), np.float64)


def _rotated(vertices: Floats, yaw: float, pitch: float) -> Floats:
    """Turned about the upright axis through the neck, then nodding."""
    a, b = np.deg2rad(yaw), np.deg2rad(pitch)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    middle = np.array([0, MIDDLE, 0.3])
    return np.asarray((vertices - middle) @ (about_x @ about_y).T + middle)


def _normals(vertices: Floats, triangles: NDArray[np.int64]) -> Floats:
    first, second, third = (vertices[triangles[:, k]] for k in range(3))
    across = np.cross(second - first, third - first)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, triangles[:, k], across)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def _to_px(points: Floats) -> Floats:
    """x and y in pixels of a layer."""
    scale, shift = np.array([UNIT_PX, -UNIT_PX], points.dtype), np.array([0, MIDDLE], points.dtype)
    return np.asarray((points[:, :2] - shift) * scale + SIDE_PX // 2)
