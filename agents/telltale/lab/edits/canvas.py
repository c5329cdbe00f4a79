"""Drawing on a crop: windows, soft masks, warps and noise that the edits share.

Every edit works on the window around its mask, never on the whole picture, so that a training
loader can call it. Pure functions over NumPy and OpenCV; ``CannotPlant`` where nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.lab.edits.edit import CannotPlant, Mask, Planted
from telltale.lab.landmarks import Points
from telltale.regions import Box, Pixels

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels inside a picture; ``x1`` and ``y1`` are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    def cut(self, pixels: Pixels) -> Floats:
        """The window's pixels as float32, H x W x 3, 0..255."""
        return pixels[self.y0 : self.y1, self.x0 : self.x1].astype(np.float32)

    def local(self, points: Points) -> Points:
        """Points in the window's own pixels."""
        return np.asarray(points - np.array([self.x0, self.y0]))


def window_of(points: Points, grow_px: float, pixels: Pixels) -> Window:
    """The window around points, grown, inside the picture. ``CannotPlant`` under 4 px."""
    height, width = pixels.shape[:2]
    low, high = points.min(0) - grow_px, points.max(0) + grow_px
    x0, y0 = int(max(0, np.floor(low[0]))), int(max(0, np.floor(low[1])))
    x1, y1 = int(min(width, np.ceil(high[0]) + 1)), int(min(height, np.ceil(high[1]) + 1))
    if x1 - x0 < 4 or y1 - y0 < 4:
        raise CannotPlant("the feature lies outside the picture or is under 4 px")
    return Window(x0, y0, x1, y1)


def corners(box: Box) -> Points:
    """The two corners of a box as points."""
    return np.array([[box[0], box[1]], [box[2], box[3]]], dtype=np.float64)


def polygon(points: Points, window: Window, soft_px: float = 0.0) -> Mask:
    """A filled outline in the window, its edge blurred by a Gaussian of ``soft_px``."""
    return soften(_filled([points], window), soft_px)


def polygons(outlines: list[Points], window: Window, soft_px: float = 0.0) -> Mask:
    """Several filled outlines in one mask."""
    return soften(_filled(outlines, window), soft_px)


def hull(points: Points, window: Window, soft_px: float = 0.0) -> Mask:
    """The filled convex hull of points in the window."""
    outline = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    return polygon(outline, window, soft_px)


def ellipse(centre: Points, radii: tuple[float, float], window: Window, soft: float) -> Mask:
    """An ellipse that falls off smoothly over the share ``soft`` of its radius."""
    yy, xx = np.mgrid[window.y0 : window.y1, window.x0 : window.x1].astype(np.float32)
    rho = np.hypot((xx - centre[0]) / radii[0], (yy - centre[1]) / radii[1])
    inside = np.clip((1.0 - rho) / max(soft, 1e-3), 0.0, 1.0)
    return np.asarray(inside, dtype=np.float32)


def grown(points: Points, factor: float) -> Points:
    """An outline scaled about its centre."""
    centre = points.mean(0)
    return np.asarray((points - centre) * factor + centre)


def soften(mask: Mask, soft_px: float) -> Mask:
    """Blur a mask and return it to exact zeros where it is invisible."""
    if soft_px > 0.2:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), soft_px), dtype=np.float32)
    return np.where(mask < 1 / 255, np.float32(0), mask).astype(np.float32)


def inset(mask: Mask, margin_px: int = 2) -> Mask:
    """Fade a mask to zero at its window's border where it would be cut off."""
    height, width = mask.shape
    y = np.minimum(np.arange(height), np.arange(height)[::-1]) / max(margin_px, 1)
    x = np.minimum(np.arange(width), np.arange(width)[::-1]) / max(margin_px, 1)
    fade = np.minimum(np.clip(y, 0, 1)[:, None], np.clip(x, 0, 1)[None])
    return (mask * fade).astype(np.float32)


def blurred(crop: Floats, sigma_px: float, sigma_y_px: float | None = None) -> Floats:
    """Gaussian blur, mirrored at the border."""
    sigma_y = sigma_px if sigma_y_px is None else sigma_y_px
    out = cv2.GaussianBlur(crop, (0, 0), max(sigma_px, 0.1), sigmaY=max(sigma_y, 0.1))
    return np.asarray(out, dtype=np.float32)


def warped(crop: Floats, dx: Floats, dy: Floats) -> Floats:
    """Each pixel taken from where (dx, dy) px away from it; bicubic, mirrored at the border."""
    height, width = crop.shape[:2]
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    out = cv2.remap(
        crop, xx + dx.astype(np.float32), yy + dy.astype(np.float32),
        cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    return np.asarray(np.clip(out, 0, 255), dtype=np.float32)


def noise(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> Floats:
    """Smooth noise, mean 0, largest magnitude 1, features about ``scale_px`` across."""
    step = max(scale_px / 2, 1.0)
    small = (int(shape[0] / step) + 4, int(shape[1] / step) + 4)
    field = rng.standard_normal(small).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), 1.0)
    size = (int(small[1] * step) + 1, int(small[0] * step) + 1)
    field = cv2.resize(field, size, interpolation=cv2.INTER_CUBIC)
    y0, x0 = (field.shape[0] - shape[0]) // 2, (field.shape[1] - shape[1]) // 2
    field = field[y0 : y0 + shape[0], x0 : x0 + shape[1]]
    field = field - field.mean()
    return np.asarray(field / max(float(np.abs(field).max()), 1e-6), dtype=np.float32)


def to_lab(crop: Floats) -> Floats:
    """RGB 0..255 to L*a*b* (L 0..100)."""
    return np.asarray(cv2.cvtColor(crop / 255.0, cv2.COLOR_RGB2LAB), dtype=np.float32)


def from_lab(lab: Floats) -> Floats:
    """L*a*b* to RGB 0..255, clipped."""
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.asarray(np.clip(rgb * 255.0, 0, 255), dtype=np.float32)


def composed(pixels: Pixels, window: Window, edited: Floats, mask: Mask) -> Planted:
    """Lay ``edited`` over the window through ``mask``; all else stays bit for bit.

    Raises ``CannotPlant`` if the mask is empty or nothing changed.
    """
    before, mask = window.cut(pixels), np.minimum(mask, np.float32(1))
    mixed = np.rint(before + (edited - before) * mask[..., None])
    out = pixels.copy()
    out[window.y0 : window.y1, window.x0 : window.x1] = np.clip(mixed, 0, 255).astype(np.uint8)
    whole = np.zeros(pixels.shape[:2], dtype=np.float32)
    whole[window.y0 : window.y1, window.x0 : window.x1] = mask
    if not mask.any() or np.array_equal(out, pixels):
        raise CannotPlant("the edit changes nothing in this picture")
    return Planted(out, whole)


def _filled(outlines: list[Points], window: Window) -> Mask:
    """Filled outlines, antialiased by eight bits of sub-pixel position."""
    canvas = np.zeros(window.shape, dtype=np.uint8)
    shifted = [np.rint(window.local(o) * 256).astype(np.int32) for o in outlines]
    for outline in shifted:
        cv2.fillPoly(canvas, [outline], 255, lineType=cv2.LINE_AA, shift=8)
    return (canvas / 255.0).astype(np.float32)
