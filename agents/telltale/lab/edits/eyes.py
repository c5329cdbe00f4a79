"""Edits of the eyes: an irregular iris, a highlight that only one eye has where it is.

Descriptions: irregular pupils and irises in synthesised faces (Guo et al. 2022), corneal
highlights that disagree (Hu, Li and Lyu 2021).
"""

from __future__ import annotations

import cv2
import numpy as np

from telltale.lab.edits.canvas import (
    Floats,
    Window,
    composed,
    ellipse,
    grown,
    polygon,
    warped,
    window_of,
)
from telltale.lab.edits.edit import CannotPlant, Planted, Site
from telltale.lab.landmarks import Points


def iris_warp(site: Site) -> Planted:
    """Bend the outline of iris and pupil of both eyes, each its own way, lids untouched."""
    planted = Planted(site.pixels, np.zeros(site.pixels.shape[:2], dtype=np.float32))
    for side in ("left", "right"):
        one = _warp_one(site, planted, side)
        planted = Planted(one.pixels, np.maximum(planted.mask, one.mask))
    return planted


def _warp_one(site: Site, planted: Planted, side: str) -> Planted:
    centre, radius = iris_of(site, side)
    window = window_of(centre[None], 1.8 * radius, site.pixels)
    opening = polygon(_opening(site, side), window, 0.08 * radius)
    yy, xx = np.mgrid[window.y0 : window.y1, window.x0 : window.x1].astype(np.float32)
    dx, dy = xx - centre[0], yy - centre[1]
    rho, theta = np.hypot(dx, dy) / radius, np.arctan2(dy, dx)
    wave = np.zeros(window.shape, dtype=np.float32)
    for k in (2, 3, 5):
        wave += np.cos(k * theta + site.rng.uniform(0, 2 * np.pi)) * site.rng.uniform(0.5, 1.0)
    wave /= np.abs(wave).max()
    # bumps at the outlines of iris and pupil; their slopes stay under one, so nothing folds
    push = np.exp(-(((rho - 1.0) / 0.45) ** 2)) + 0.4 * np.exp(-(((rho - 0.45) / 0.25) ** 2))
    push *= (0.05 + 0.30 * site.strength) * wave
    crop = window.cut(planted.pixels)
    scale = push / np.maximum(rho, 0.2)
    edited = warped(crop, dx * scale, dy * scale)
    disc = ellipse(centre, (1.7 * radius, 1.7 * radius), window, 0.25)
    return composed(planted.pixels, window, edited, opening * disc)


def highlight_moved(site: Site) -> Planted:
    """Take the highlight of one eye to another place on its iris; where none is, add one."""
    side = "left" if site.rng.random() < 0.5 else "right"
    centre, radius = iris_of(site, side)
    window = window_of(centre[None], 1.5 * radius, site.pixels)
    crop = window.cut(site.pixels)
    disc = ellipse(centre, (1.05 * radius, 1.05 * radius), window, 0.15)
    inside = polygon(grown(_opening(site, side), 0.95), window, 0.5) * disc
    spot = _highlight(crop, inside, radius)
    clean = crop
    if spot.any():
        hole = cv2.dilate(spot.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=1)
        filled = cv2.inpaint(crop.astype(np.uint8), hole, 3, cv2.INPAINT_TELEA)
        clean = np.asarray(filled, dtype=np.float32)
        at = window.local(centre[None])[0]
        weights = np.argwhere(spot)
        old = weights.mean(0)[::-1] - at
        size = max(float(np.sqrt(spot.sum() / np.pi)), 0.1 * radius)
        colour = crop[spot].max(0)
    else:
        old, size, colour = np.array([0.0, -0.2 * radius]), 0.16 * radius, np.full(3, 245.0)
    size *= 1.0 + 0.25 * site.strength
    # of both ways round the iris the one where lids hide less of it
    glows = [_glow(window, centre + t, size) for t in _elsewhere(site, old, radius)]
    glow = max(glows, key=lambda g: float((g * inside).sum()))
    edited = clean + (np.maximum(colour, 225.0) - clean) * glow[..., None]
    changed = (np.abs(edited - crop).max(2) > 0.5).astype(np.float32)
    near = cv2.dilate(changed, np.ones((3, 3), np.uint8))
    return composed(site.pixels, window, edited.astype(np.float32), np.asarray(near) * inside)


def _elsewhere(site: Site, old: Points, radius: float) -> tuple[Points, ...]:
    """The highlight's new offset: turned about the iris either way, farther for a stronger edit."""
    ways = site.rng.permutation([-1.0, 1.0])
    if np.hypot(*old) < 0.15 * radius:
        old = np.array([0.0, -0.2 * radius])
    return tuple(_turned(old, w * np.pi * (0.35 + 0.4 * site.strength), radius) for w in ways)


def _turned(old: Points, turn: float, radius: float) -> Points:
    cos, sin = np.cos(turn), np.sin(turn)
    new = np.array([[cos, -sin], [sin, cos]]) @ old
    reach = float(np.clip(np.hypot(*new), 0.3 * radius, 0.55 * radius))
    return np.asarray(new / np.hypot(*new) * reach)


def _highlight(
    crop: Floats, inside: Floats, radius: float
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """The bright spots on an iris, as a boolean mask; empty if there are none."""
    light = crop.mean(2)
    core = inside > 0.6
    if core.sum() < 9:
        raise CannotPlant("the iris is hidden or under 3 px")
    base = float(np.median(light[core]))
    peak = float(light[core].max())
    if peak - base < 40:
        return np.zeros(light.shape, dtype=bool)
    spot = core & (light > base + 0.5 * (peak - base))
    yy, xx = np.mgrid[0 : light.shape[0], 0 : light.shape[1]]
    at = np.unravel_index(np.argmax(np.where(core, light, 0)), light.shape)
    near = np.hypot(yy - at[0], xx - at[1]) < 0.6 * radius  # the white of the eye is not it
    return np.asarray(spot & near, dtype=bool)


def _glow(window: Window, at: Points, size: float) -> Floats:
    yy, xx = np.mgrid[window.y0 : window.y1, window.x0 : window.x1].astype(np.float32)
    rho = np.hypot(xx - at[0], yy - at[1])
    glow = 1.0 / (1.0 + np.exp((rho - size) / max(0.18 * size, 0.35)))
    return np.asarray(glow, dtype=np.float32)


def iris_of(site: Site, side: str) -> tuple[Points, float]:
    """Centre and radius in px of an iris. ``CannotPlant`` under 2.5 px."""
    points = site.landmarks.group("iris_left" if side == "left" else "iris_right")
    pupil = site.landmarks.points[0 if side == "left" else 1]
    radius = float(np.median(np.hypot(*(points - pupil).T)))
    if radius < 2.5:
        raise CannotPlant(f"the {side} iris is under 2.5 px")
    return pupil, radius


def _opening(site: Site, side: str) -> Points:
    return site.landmarks.group("eye_left" if side == "left" else "eye_right")
