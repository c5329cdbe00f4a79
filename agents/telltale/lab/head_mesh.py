"""The head of the MakeHuman base mesh, how it lies under a photograph, and which part of it is what.

In: ``head_shapes.npz`` (``telltale.lab.head_shapes`` made it). Out: the mean adult head, the shapes that
make it another's, and for every vertex whether a frontal photograph shows it, whether hair grows there,
whether it is of an ear or the inside of the mouth. Nothing fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from telltale.lab import landmarks as marks
from telltale.lab.strewing import Floats, normals

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
class Mesh:
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


@cache
def head_mesh() -> Mesh:
    with as_file(files("telltale.lab") / "head_shapes.npz") as path, np.load(path) as held:
        triangles, groups = held["triangles"].astype(np.int64), held["groups"]
        deltas = held["shapes"].astype(np.float64) * held["scales"][:, None, None]
        shapes = dict(zip(map(str, held["names"]), deltas, strict=True))
        shapes["base"] = held["vertices"].astype(np.float64)
    young = [s for n, s in shapes.items() if n.startswith("race-") and n.endswith("-young")]
    mean = shapes["base"] + np.mean(young, 0)
    body = triangles[groups == BODY]
    normal = normals(mean, triangles[groups != LONG_HAIR])
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
    fitted = RBFInterpolator(points[list(ANCHORS)], anchors(), smoothing=0.5, degree=1)
    near = cKDTree(mean[front, :2] * 100).query(fitted(points))[1]
    tip = int(front[np.argmax(np.where(np.abs(x[front]) < 0.1, z[front], -9))])
    middle = mean[triangles].mean(1)
    aside = (middle[:, 2] < 0.55) | (middle[:, 1] > 8.1)
    return Mesh(mean, triangles, groups, shapes, front[near], trusted, hair, aside, ear, mouth, tip)


def anchors() -> Floats:
    """The places of ``ANCHORS`` in hundredths of a unit of the mesh, y upwards."""
    at = (np.array(list(ANCHORS.values())) - 500) / 300 * [1, -1] + _CENTRE
    return np.asarray(at * 100)


def of_group(mesh: Mesh, group: int) -> NDArray[np.int64]:
    return np.unique(mesh.triangles[mesh.groups == group])
