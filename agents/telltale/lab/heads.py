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

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from telltale.lab import landmarks as marks
from telltale.lab.cutouts import Layer, halved
from telltale.lab.head_mesh import (
    ANCHORS,
    LONG_HAIR,
    LOWER_TEETH,
    TONGUE,
    UPPER_TEETH,
    Mesh,
    anchors,
    head_mesh,
    of_group,
)
from telltale.lab.sharing import Told
from telltale.lab.strewing import MIDDLE, SIDE_PX, drawn, normals, rotated, to_px
from telltale.regions import Pixels

Floats = NDArray[np.float64]

TIP = (53, 84)
"""Inner landmarks that are put on the tip of the nose: in profile it bounds the nose and the face."""


def heads(people: Sequence[Layer], seed: int, count: int, told: Told | None = None) -> list[Layer]:
    """``count`` heads in the skins of ``people``; the same seed and people draw the same."""
    made = []
    for number in range(count):
        rng = np.random.default_rng([seed, 3, number])
        made.append(head(rng, people[int(rng.integers(len(people)))]))
        if told is not None:
            told("heads", number + 1, count)
    return made


def head(rng: np.random.Generator, person: Layer, turn: tuple[float, float] | None = None) -> Layer:
    """One head in the skin of ``person``, a frontal photograph: a layer ``SIDE_PX`` squared.

    ``turn`` is yaw (positive shows the viewer's left side of the face, 0 frontal, 180 the back) and
    pitch, in degrees; drawn where unset.
    """
    mesh = head_mesh()
    yaw, pitch = _turn(rng) if turn is None else turn
    vertices = _shaped(rng, mesh)
    long = rng.random() < (0.2 if all(person.seen[5:]) else 0.8)
    colours, at = _colours(rng, mesh, person)
    turned = rotated(vertices, yaw, pitch)
    triangles = mesh.triangles[(mesh.groups != LONG_HAIR) | (long & mesh.aside)]
    normal = normals(turned, triangles)
    lit = _light(rng, normal)
    attributes = np.hstack([colours, at, mesh.trusted[:, None], lit])
    flat, depth = drawn(turned, triangles, attributes)
    pixels, alpha = _painted(flat, person, depth)
    points = np.array(to_px(turned[mesh.marks]))
    for number in TIP:
        points[number] = to_px(turned[[mesh.tip]])[0]
    seen = _seen(mesh, turned, depth, yaw)
    return Layer(person.person, halved(pixels), halved(alpha), points, seen, turns=False)


def _turn(rng: np.random.Generator) -> tuple[float, float]:
    """Yaw and pitch, in degrees: mostly a turned face, at times the back of a head."""
    sign = -1.0 if rng.random() < 0.5 else 1.0
    yaw = rng.uniform(130, 180) if rng.random() < 0.08 else rng.uniform(0, 95)
    return sign * float(yaw), float(np.clip(rng.normal(0, 13), -32, 32))


def _shaped(rng: np.random.Generator, mesh: Mesh) -> Floats:
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
    smooth = normals(out, mesh.triangles)
    out += smooth * (mesh.hair * rng.uniform(0.02, 0.30))[:, None]
    points = out[mesh.marks]
    out[:, 1] += MIDDLE - float(points[[0, 1, 129], 1].mean()) - 0.1  # a child's head is lower
    wide = float(np.ptp(points[list(marks.GROUPS["jaw"]), 0]))
    out = (out - [0, MIDDLE, 0]) * (1.4 / wide) + [0, MIDDLE, 0]
    return np.asarray(out)


def _colours(rng: np.random.Generator, mesh: Mesh, person: Layer) -> tuple[Floats, Floats]:
    """By vertex: the colour where the photograph is not trusted, and the place in the photograph."""
    photo, points = person.pixels[0], person.points
    fitted = RBFInterpolator(anchors(), points[list(ANCHORS)], smoothing=0.5, degree=1)
    at = fitted(mesh.vertices[:, :2] * 100)
    skin = _colour(photo, points[list(marks.GROUPS["cheeks"])])
    top = points[list(marks.GROUPS["hair_outline"])[3:8]]
    hair = _colour(photo, top * 0.6 + points[139] * 0.4)
    if rng.random() < 0.3:
        hair = rng.uniform(10, 200) * np.array([1.0, 0.85, 0.7])
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
        colours[of_group(mesh, group)] = np.array(colour) * rng.uniform(0.6, 1.1)
    colours[of_group(mesh, LONG_HAIR)] = hair * streaks[of_group(mesh, LONG_HAIR)][:, None]
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


def _seen(mesh: Mesh, turned: Floats, depth: Floats, yaw: float) -> tuple[bool, ...]:
    """Face, left and right eye, nose, mouth, left and right ear: whether it is in sight, by its landmarks."""
    points = turned[mesh.marks]
    x, y = np.round(to_px(points)).astype(int).T.clip(0, SIDE_PX - 1)
    behind = cv2.erode(np.where(np.isfinite(depth), depth, -9).astype(np.float32), np.ones((5, 5)))
    sight = points[:, 2] >= behind[y, x] - 0.04
    names: tuple[marks.GroupName, ...] = ("lids_left", "lids_right", "nose", "lips_outer")
    eye_left, eye_right, nose, mouth = (float(sight[list(marks.GROUPS[n])].mean()) for n in names)
    sides: tuple[marks.GroupName, ...] = ("ear_left", "ear_right")
    ears = [float(sight[list(marks.GROUPS[n])[-6:]].mean()) for n in sides]
    front = abs(yaw) < 100
    return (front, front and eye_left > 0.45, front and eye_right > 0.45, front and nose > 0.3,
            front and mouth > 0.35, ears[0] > 0.6, ears[1] > 0.6)  # fmt: skip


def _colour(photo: Pixels, points: Floats) -> Floats:
    x, y = np.round(points).astype(int).T
    near = photo[y.clip(0, photo.shape[0] - 1), x.clip(0, photo.shape[1] - 1)]
    return np.asarray(np.median(near, 0), np.float64)
