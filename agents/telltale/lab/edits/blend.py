"""Self-blended images: a face blended with a changed copy of itself.

Written from the description of Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended
Images", CVPR 2022: a mask from the landmarks' hull; colour and sharpness changed on one of the
two copies; affine and elastic jitter of the copy and the mask; two blurs of the mask; a blend
ratio. Strength scales the changes.
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
    hull,
    inset,
    noise,
    soften,
    to_lab,
    warped,
    window_of,
)
from telltale.lab.edits.edit import Mask, Planted, Site
from telltale.lab.edits.head import face_outline
from telltale.lab.landmarks import Points

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""Blend ratios of the paper; a plain edit draws from the upper ones."""


def self_blend(site: Site) -> Planted:
    """Blend the face with a recoloured, resharpened, shifted copy of itself."""
    outline, unit = _outline(site), site.unit_px
    window = window_of(outline, 0.35 * unit, site.pixels)
    crop = window.cut(site.pixels)
    mask = _mask(site, outline, window)
    changed = _jittered(_changed(crop, site), site)
    lowest = round(2 * site.strength) + (2 if site.strength >= 0.75 else 0)
    ratio = np.float32(RATIOS[int(site.rng.integers(lowest, len(RATIOS)))])
    return composed(site.pixels, window, changed, mask * ratio)


def _outline(site: Site) -> Points:
    """One of the paper's four kinds of hull: whole face, to the brows, inner face, lower half."""
    marks = site.landmarks
    inner = np.vstack([marks.group(n) for n in ("lids_left", "lids_right", "nose", "lips_outer")])
    jaw = marks.group("jaw")
    brows = np.vstack([marks.group("brow_left"), marks.group("brow_right")])
    kinds = (face_outline(marks), np.vstack([jaw, brows]), np.vstack([inner, brows]), jaw)
    return kinds[int(site.rng.choice(4, p=(0.25, 0.45, 0.2, 0.1)))]


def _mask(site: Site, outline: Points, window: Window) -> Mask:
    """The hull, bent elastically, then blurred twice with different sizes (soft edge)."""
    unit, rng = site.unit_px, site.rng
    mask = hull(outline, window)
    size = 0.08 * unit
    bent = warped(
        np.repeat(mask[..., None], 3, 2) * 255,
        size * noise(window.shape, 0.5 * unit, rng),
        size * noise(window.shape, 0.5 * unit, rng),
    )[..., 0]
    once = blurred((bent / 255).astype(np.float32), rng.uniform(0.02, 0.09) * unit)
    shrunk = np.where(once < 0.995, 0, once).astype(np.float32)
    twice = blurred(shrunk, rng.uniform(0.02, 0.09) * unit)
    top = max(float(twice.max()), 1e-6)
    return inset(soften((twice / top).astype(np.float32), 0), 4)


def _changed(crop: Floats, site: Site) -> Floats:
    """Colour (hue, chroma, lightness, contrast) and sharpness of one copy."""
    rng, s = site.rng, 0.35 + 0.65 * site.strength
    lab = to_lab(crop)
    signs = rng.choice([-1.0, 1.0], 3) * rng.uniform(0.4, 1.0, 3)
    lab += (signs * np.array([6.0, 4.0, 4.5]) * s).astype(np.float32)
    middle = lab.mean((0, 1))
    lab = (lab - middle) * np.float32(1 + rng.uniform(-0.15, 0.15) * s) + middle
    out = from_lab(lab.astype(np.float32))
    if rng.random() < 0.5:  # down and up again
        share = 1 - rng.uniform(0.25, 0.6) * s
        size = (max(4, int(out.shape[1] * share)), max(4, int(out.shape[0] * share)))
        small = cv2.resize(out, size, interpolation=cv2.INTER_AREA)
        back = cv2.resize(small, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(back, dtype=np.float32)
    sharp = out + np.float32(rng.uniform(0.4, 1.0) * s) * (out - blurred(out, 1.2))
    return np.clip(sharp, 0, 255).astype(np.float32)


def _jittered(crop: Floats, site: Site) -> Floats:
    """A small shift and scale, and an elastic bend, of the copy."""
    rng, unit, s = site.rng, site.unit_px, 0.3 + 0.7 * site.strength
    height, width = crop.shape[:2]
    shift = rng.uniform(-0.045, 0.045, 2) * unit * s
    scale = rng.uniform(-0.04, 0.04) * s
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    bend = 0.02 * unit * s
    dx = shift[0] + scale * (xx - width / 2) + bend * noise((height, width), 0.6 * unit, rng)
    dy = shift[1] + scale * (yy - height / 2) + bend * noise((height, width), 0.6 * unit, rng)
    return warped(crop, dx.astype(np.float32), dy.astype(np.float32))
