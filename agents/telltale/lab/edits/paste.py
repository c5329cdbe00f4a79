"""Edits that paste a feature of another person: an eye, the mouth, the nose.

The donor's feature is aligned by landmarks (least-squares similarity, Umeyama 1991), recoloured
towards its new surroundings (Reinhard et al. 2001) and laid in through a soft mask. A stronger
edit recolours less and has a harder edge.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.lab.edits.canvas import (
    Floats,
    Window,
    composed,
    from_lab,
    grown,
    inset,
    polygon,
    soften,
    to_lab,
    window_of,
)
from telltale.lab.edits.edit import CannotPlant, Donor, Mask, Planted, Site
from telltale.lab.landmarks import GroupName, Points


def pasted_eye(site: Site) -> Planted:
    """Paste one eye, lids included, from the donor's eye of the same side."""
    side = "left" if site.rng.random() < 0.5 else "right"
    lids: GroupName = "lids_left" if side == "left" else "lids_right"
    eye: GroupName = "eye_left" if side == "left" else "eye_right"
    outline = cv2.convexHull(site.landmarks.group(lids).astype(np.float32))[:, 0]
    return _pasted(site, _donor(site), (eye,), grown(outline.astype(np.float64), 1.22))


def pasted_mouth(site: Site) -> Planted:
    """Paste the mouth."""
    outline = grown(site.landmarks.group("lips_outer"), 1.2)
    return _pasted(site, _donor(site), ("lips_outer",), outline)


def pasted_nose(site: Site) -> Planted:
    """Paste the lower two thirds of the nose."""
    points = site.landmarks.points[[51, 61, 62, 63, 64, 55, 69, 68, 67, 66, 57]]
    outline = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    return _pasted(site, _donor(site), ("nose_wings", "nose"), grown(outline, 1.15))


def similarity(source: Points, target: Points) -> NDArray[np.float64]:
    """The 2 x 3 matrix of rotation, scale and shift that best takes source to target."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * flip) @ vt
    scale = float((d * flip).sum() / (a**2).sum())
    matrix = scale * rotation
    return np.hstack([matrix, (target.mean(0) - matrix @ source.mean(0))[:, None]])


def carried_over(donor: Donor, matrix: NDArray[np.float64], window: Window) -> Floats:
    """The donor's picture under ``matrix``, cut to the window; averaged when it shrinks."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    # cut the donor to what the window needs, so that blurring it stays cheap
    inverse = np.linalg.inv(matrix[:, :2])
    frame = np.array(
        [[window.x0, window.y0], [window.x1, window.y0], [window.x0, window.y1], [window.x1, window.y1]]
    )  # fmt: skip
    there = (frame - matrix[:, 2]) @ inverse.T
    part = window_of(there, 4 / scale + 4, donor.pixels)
    crop = part.cut(donor.pixels)
    if scale < 0.8:
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), 0.4 / scale), dtype=np.float32)
    shift = matrix[:, :2] @ np.array([part.x0, part.y0]) + matrix[:, 2]
    local = np.hstack([matrix[:, :2], (shift - np.array([window.x0, window.y0]))[:, None]])
    out = cv2.warpAffine(
        crop, local, (window.shape[1], window.shape[0]),
        flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(np.clip(out, 0, 255), dtype=np.float32)


def recoloured(crop: Floats, like: Floats, ring: Mask, share: float) -> Floats:
    """Shift and scale L*a*b* of ``crop`` so that its ring looks like that of ``like``."""
    weight = ring[..., None] / max(float(ring.sum()), 1e-6)
    a, b = to_lab(crop), to_lab(like)
    mean_a, mean_b = (a * weight).sum((0, 1)), (b * weight).sum((0, 1))
    std_a = np.sqrt((((a - mean_a) ** 2) * weight).sum((0, 1))) + 1.0
    std_b = np.sqrt((((b - mean_b) ** 2) * weight).sum((0, 1))) + 1.0
    gain = np.clip(std_b / std_a, 0.75, 1.33)
    matched = (a - mean_a) * gain + mean_b
    return from_lab((a + (matched - a) * share).astype(np.float32))


def _donor(site: Site) -> Donor:
    if site.donor is None:
        raise CannotPlant("a pasted feature needs a donor photograph")
    return site.donor


def _pasted(site: Site, donor: Donor, names: tuple[GroupName, ...], outline: Points) -> Planted:
    target = np.vstack([site.landmarks.group(n) for n in names])
    source = np.vstack([donor.landmarks.group(n) for n in names])
    unit, s = site.unit_px, site.strength
    window = window_of(outline, 0.22 * unit, site.pixels)
    laid = carried_over(donor, similarity(source, target), window)
    mask = inset(polygon(outline, window, (0.06 - 0.05 * s) * unit), 3)
    ring = soften(mask * (1 - mask) * 4, 0)
    laid = recoloured(laid, window.cut(site.pixels), ring, 1.0 - 0.8 * s)
    return composed(site.pixels, window, laid, mask)
