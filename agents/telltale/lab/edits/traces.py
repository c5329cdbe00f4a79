"""Edits that leave traces of processing: an upsampling lattice, a local recompression.

Descriptions: periodic traces of upsampling (Frank et al. 2020), blocks of another quantisation
on a shifted grid (Farid 2009).
"""

from __future__ import annotations

import cv2
import numpy as np

from telltale.lab.edits.canvas import Window, composed, ellipse, inset, polygon, window_of
from telltale.lab.edits.edit import CannotPlant, Mask, Planted, Site
from telltale.lab.edits.head import face_outline


def lattice(site: Site) -> Planted:
    """Downsample a part of the face and upsample it by repeating pixels."""
    window, mask = _part(site)
    crop = window.cut(site.pixels)
    height, width = window.shape
    factor = 2 if site.strength < 0.75 else 3
    small = cv2.resize(
        crop, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA
    )
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    share = min(1.0, 0.5 + site.strength)
    return composed(site.pixels, window, np.asarray(large), mask * np.float32(share))


def recompression(site: Site) -> Planted:
    """Send a part of the face through a poorer JPEG, on a block grid that does not line up."""
    window, mask = _part(site)
    # the crop's own grid starts at its corner: move it to a place off the picture's grid
    ox, oy = ((int(site.rng.integers(1, 8)) - at) % 8 for at in (window.x0, window.y0))
    window, mask = Window(window.x0 + ox, window.y0 + oy, window.x1, window.y1), mask[oy:, ox:]
    if min(window.shape) < 8:
        raise CannotPlant("the face is smaller than a JPEG block")
    mask = inset(mask, 2)
    crop = window.cut(site.pixels).astype(np.uint8)
    quality = round(62 * (0.22**site.strength))
    ok, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError("the JPEG encoder refused a crop")
    back = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1].astype(np.float32)
    return composed(site.pixels, window, back, mask)


def _part(site: Site) -> tuple[Window, Mask]:
    """The whole face or an ellipse in it, with an edge of two pixels."""
    face = face_outline(site.landmarks)
    unit = site.unit_px
    if site.rng.random() < 0.5:
        window = window_of(face, 4, site.pixels)
        return window, inset(polygon(face, window, 1.0), 2)
    low, high = face.min(0), face.max(0)
    centre = site.rng.uniform(low + 0.3 * (high - low), low + 0.7 * (high - low))
    radii = site.rng.uniform(0.55, 0.95, 2) * unit
    window = window_of(np.vstack([centre - radii, centre + radii]), 2, site.pixels)
    return window, inset(ellipse(centre, (radii[0], radii[1]), window, 0.05), 2)
