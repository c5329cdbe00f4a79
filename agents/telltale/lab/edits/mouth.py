"""Edits of the mouth: teeth fused into one band, teeth out of line.

Descriptions: undefined or merged teeth in manipulated faces (Matern et al. 2019).
"""

from __future__ import annotations

import cv2
import numpy as np

from telltale.lab.edits.canvas import (
    Floats,
    Window,
    blurred,
    composed,
    grown,
    noise,
    polygon,
    soften,
    to_lab,
    warped,
    window_of,
)
from telltale.lab.edits.edit import CannotPlant, Mask, Planted, Site


def mouth_blur(site: Site) -> Planted:
    """Blur the teeth into one band; where the mouth is closed, the line between the lips."""
    window, lips = _mouth(site)
    crop = window.cut(site.pixels)
    teeth = teeth_mask(crop, lips, site.unit_px)
    unit, s = site.unit_px, site.strength
    if teeth is None:
        inner = grown(site.landmarks.group("lips_outer"), 0.92)
        mask = polygon(inner, window, 0.03 * unit)
        return composed(site.pixels, window, blurred(crop, (0.008 + 0.042 * s) * unit), mask)
    mask = soften(np.asarray(cv2.dilate(teeth, np.ones((3, 3), np.uint8))), 0.012 * unit)
    # mixing only teeth with teeth keeps the lips from bleeding in
    weight = blurred(teeth, (0.02 + 0.05 * s) * unit, (0.006 + 0.02 * s) * unit)[..., None]
    smeared = blurred(crop * teeth[..., None], (0.02 + 0.05 * s) * unit, (0.006 + 0.02 * s) * unit)
    edited = np.where(weight > 0.05, smeared / np.maximum(weight, 0.05), crop)
    return composed(site.pixels, window, edited.astype(np.float32), mask * (0.55 + 0.45 * s))


def tooth_warp(site: Site) -> Planted:
    """Shift and bend teeth against one another. ``CannotPlant`` if none can be seen."""
    window, lips = _mouth(site)
    crop = window.cut(site.pixels)
    teeth = teeth_mask(crop, lips, site.unit_px)
    if teeth is None:
        raise CannotPlant("no teeth can be seen")
    unit, amplitude = site.unit_px, (0.015 + 0.06 * site.strength) * site.unit_px
    mask = soften(np.asarray(cv2.dilate(teeth, np.ones((3, 3), np.uint8))), 0.015 * unit)
    dx = amplitude * noise(window.shape, 0.13 * unit, site.rng) * mask
    dy = 0.8 * amplitude * noise(window.shape, 0.13 * unit, site.rng) * mask
    return composed(site.pixels, window, warped(crop, dx, dy), mask)


def teeth_mask(crop: Floats, lips: Mask, unit_px: float) -> Mask | None:
    """Where teeth show between the lips, 0 or 1; None if fewer than a few.

    Teeth are lighter and less red than the lips around them.
    """
    lab = to_lab(crop)
    inside = lips > 0.5
    if inside.sum() < 30:
        return None
    redness = lab[..., 1]
    bare = float(np.median(redness[inside]))
    lightness = float(np.median(lab[..., 0][inside]))
    light = lab[..., 0]
    paler = (redness < bare - 6) & (light > max(lightness, 38.0))
    shining = (redness < bare - 2) & (light > lightness + 16)  # teeth against dark lips
    core = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=_rim(unit_px))
    pale = (paler | shining) & (np.asarray(core) > 0)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    closed = cv2.morphologyEx(pale.astype(np.uint8), cv2.MORPH_CLOSE, kernel, iterations=2)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    wide = stats[largest, cv2.CC_STAT_WIDTH] > 0.3 * unit_px
    high = stats[largest, cv2.CC_STAT_HEIGHT] > 0.05 * unit_px
    if not (wide and high):
        return None
    return np.asarray(labels == largest, dtype=np.float32)


def _rim(unit_px: float) -> int:
    """Steps of erosion that take off the rim of the lips, where skin may lie within the outline."""
    return max(1, round(0.045 * unit_px))


def _mouth(site: Site) -> tuple[Window, Mask]:
    lips = site.landmarks.group("lips_outer")
    window = window_of(lips, 0.15 * site.unit_px, site.pixels)
    return window, polygon(grown(lips, 0.94), window)
