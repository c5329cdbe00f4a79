"""A mesh drawn without perspective, by points strewn over its triangles, nearest last.

In: vertices (N x 3, x to the right, y upwards, z to the viewer, in tenths of a metre), triangles, and
what is known at each vertex. Out: the same by pixel of a square picture. Pure functions; nothing fails.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDE_PX = 448
UNIT_PX = 130.0
"""Pixels of a layer to a unit of the mesh (a tenth of a metre): a frontal face is 180 px wide."""
MIDDLE = 6.9
"""Height of the mesh, in its units, that lies in the middle of a layer."""


def drawn(
    vertices: Floats, triangles: NDArray[np.int64], attributes: Floats
) -> tuple[Floats, Floats]:
    """By pixel, what the nearest surface has: ``attributes`` (SIDE_PX x SIDE_PX x C, NaN where nothing is)
    and depth (SIDE_PX x SIDE_PX, in units of the mesh, -inf where nothing is).

    ``attributes`` is N x C, one row a vertex. Triangles that face away are not drawn.
    """
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
    x, y = np.round(to_px(points)).astype(int).T
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


def rotated(vertices: Floats, yaw: float, pitch: float) -> Floats:
    """N x 3 vertices turned about the upright axis through the head, then nodding; both in degrees."""
    a, b = np.deg2rad(yaw), np.deg2rad(pitch)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    middle = np.array([0, MIDDLE, 0.3])
    return np.asarray((vertices - middle) @ (about_x @ about_y).T + middle)


def normals(vertices: Floats, triangles: NDArray[np.int64]) -> Floats:
    """Of each vertex the mean direction of its triangles, by their area: N x 3, of length 1 (0 if it has none)."""
    first, second, third = (vertices[triangles[:, k]] for k in range(3))
    across = np.cross(second - first, third - first)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, triangles[:, k], across)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def to_px(points: Floats) -> Floats:
    """x and y in pixels of a layer (N x 2), y downwards, of points N x 3."""
    scale, shift = np.array([UNIT_PX, -UNIT_PX], points.dtype), np.array([0, MIDDLE], points.dtype)
    return np.asarray((points[:, :2] - shift) * scale + SIDE_PX // 2)
