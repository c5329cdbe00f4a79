"""Edits of ear, skin, neck, hair and light.

Descriptions: malformed ears (Matern et al. 2019), over-smoothed skin and smeared hair in
synthesised faces, colour steps between face and neck, lighting that disagrees between face and
scene (Johnson and Farid 2007; Kee, O'Brien and Farid 2014).
"""

from __future__ import annotations

import cv2
import numpy as np

from telltale.lab.edits.canvas import (
    Floats,
    Window,
    blurred,
    composed,
    from_lab,
    grown,
    hull,
    inset,
    noise,
    polygon,
    polygons,
    soften,
    to_lab,
    warped,
    window_of,
)
from telltale.lab.edits.edit import CannotPlant, Mask, Planted, Site
from telltale.lab.landmarks import Landmarks, Points, ears_visible


def ear_warp(site: Site) -> Planted:
    """Warp one visible ear elastically. ``CannotPlant`` if hair covers both."""
    seen = [i for i, yes in enumerate(ears_visible(site.pixels, site.landmarks)) if yes]
    if not seen:
        raise CannotPlant("no ear can be seen")
    chosen = seen[int(site.rng.integers(len(seen)))]
    ear = site.landmarks.group("ear_left" if chosen == 0 else "ear_right")
    unit = site.unit_px
    window = window_of(ear, 0.2 * unit, site.pixels)
    mask = inset(polygon(grown(ear, 1.1), window, 0.035 * unit), 3)
    amplitude = (0.025 + 0.11 * site.strength) * unit
    dx = amplitude * noise(window.shape, 0.22 * unit, site.rng) * mask
    dy = amplitude * noise(window.shape, 0.22 * unit, site.rng) * mask
    return composed(site.pixels, window, warped(window.cut(site.pixels), dx, dy), mask)


def waxy_skin(site: Site) -> Planted:
    """Smooth the skin's texture and keep its edges: a guided filter (He, Sun and Tang 2013)."""
    face = face_outline(site.landmarks)
    unit, s = site.unit_px, site.strength
    window = window_of(face, 0.05 * unit, site.pixels)
    crop = window.cut(site.pixels)
    smooth = _guided(crop, max(2, round(0.07 * unit)), (6.0 + 26.0 * s) ** 2)
    mask = skin_mask(site, window, 0.03 * unit) * (0.45 + 0.55 * s)
    return composed(site.pixels, window, smooth, mask)


def neck_step(site: Site) -> Planted:
    """Shift the colour of the neck against the face, with an edge along the jaw."""
    jaw = site.landmarks.points[[126, 127, 128, 129, 130, 131, 132]]
    neck = site.landmarks.group("neck")
    unit, s = site.unit_px, site.strength
    low = neck[[3, 2, 1, 0]] + np.array([0.0, 0.35 * unit])
    outline = np.vstack([jaw, neck[3][None], low, neck[0][None]])
    window = window_of(outline, 0.1 * unit, site.pixels)
    lab = to_lab(window.cut(site.pixels))
    mask = polygon(outline, window, 0.012 * unit)
    core = mask > 0.9
    if core.sum() < 40:
        raise CannotPlant("the neck lies outside the picture")
    middle = np.median(lab[core], 0)
    away = np.linalg.norm((lab - middle) * np.array([0.5, 1.0, 1.0]), axis=2)
    skin = soften(np.clip((22.0 - away) / 8.0, 0, 1).astype(np.float32), 0.01 * unit)
    sign = site.rng.choice([-1.0, 1.0], 2)
    shift = np.array(
        [sign[0] * (2.0 + 3.5 * s), sign[1] * (1.3 + 2.2 * s), sign[1] * (1.7 + 2.9 * s)]
    )
    fade = np.linspace(1.0, 0.0, window.shape[0], dtype=np.float32)[:, None]
    mask = inset(mask * skin * np.clip(fade * 3, 0, 1), 3)
    return composed(site.pixels, window, from_lab(lab + shift.astype(np.float32)), mask)


def hairline_blur(site: Site) -> Planted:
    """Smear the band where hair meets forehead."""
    line = site.landmarks.group("hairline")
    start = int(site.rng.integers(0, 4))
    line = line[start : start + int(site.rng.integers(6, 12 - start))]
    unit = site.unit_px
    window = window_of(line, 0.35 * unit, site.pixels)
    canvas = np.zeros(window.shape, dtype=np.float32)
    path = np.rint(window.local(line) * 256).astype(np.int32)
    cv2.polylines(canvas, [path], False, 1.0, max(2, round(0.3 * unit)), cv2.LINE_AA, 8)
    mask = inset(soften(canvas.clip(0, 1), 0.06 * unit), 4)
    sigma = (0.01 + 0.065 * site.strength) * unit
    return composed(site.pixels, window, blurred(window.cut(site.pixels), sigma), mask)


def relight_ramp(site: Site) -> Planted:
    """Light the face from one side, the rest of the picture as it was."""
    face = face_outline(site.landmarks)
    unit = site.unit_px
    window = window_of(face, 0.3 * unit, site.pixels)
    mask = inset(polygon(grown(face, 0.97), window, 0.09 * unit), 4)
    angle = site.rng.choice([0.0, np.pi]) + site.rng.uniform(-0.5, 0.5)
    yy, xx = np.mgrid[window.y0 : window.y1, window.x0 : window.x1].astype(np.float32)
    centre = face.mean(0)
    along = ((xx - centre[0]) * np.cos(angle) + (yy - centre[1]) * np.sin(angle)) / unit
    gain = np.exp((0.10 + 0.42 * site.strength) * np.clip(along, -1.2, 1.2)).astype(np.float32)
    linear = (window.cut(site.pixels) / 255.0) ** 2.2 * gain[..., None]
    return composed(site.pixels, window, np.clip(linear, 0, 1) ** (1 / 2.2) * 255.0, mask)


def face_outline(landmarks: Landmarks) -> Points:
    """The face from hairline to chin as one outline, N x 2."""
    jaw, hairline = landmarks.group("jaw"), landmarks.group("hairline")
    return np.vstack([jaw, hairline[::-1]])


def skin_mask(site: Site, window: Window, soft_px: float) -> Mask:
    """The face without eyes, brows, lips and nostrils."""
    marks = site.landmarks
    face = polygon(grown(face_outline(marks), 0.94), window, soft_px)
    lids = [grown(marks.group("eye_left"), 1.3), grown(marks.group("eye_right"), 1.3)]
    brows = [grown(marks.group("brow_left"), 1.15), grown(marks.group("brow_right"), 1.15)]
    features = [*lids, *brows, grown(marks.group("lips_outer"), 1.08)]
    return soften(face * (1 - polygons(features, window, soft_px)), 0)


def hull_of_face(site: Site, window: Window, soft_px: float) -> Mask:
    """The convex hull of jaw and brows, as face swaps use it."""
    marks = site.landmarks
    points = np.vstack([marks.group(n) for n in ("jaw", "brow_left", "brow_right")])
    return hull(points, window, soft_px)


def _guided(crop: Floats, radius: int, eps: float) -> Floats:
    """Guided filter of each channel by itself."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean = cv2.boxFilter(crop, -1, size)
    variance = np.maximum(cv2.boxFilter(crop * crop, -1, size) - mean * mean, 0)
    a = variance / (variance + eps)
    b = mean - a * mean
    out = cv2.boxFilter(a, -1, size) * crop + cv2.boxFilter(b, -1, size)
    return np.asarray(np.clip(out, 0, 255), dtype=np.float32)
