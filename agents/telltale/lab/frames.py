"""How a photograph becomes a picture of the bench: its frame, and what is done to both twins.

In: a photograph with landmarks, a random generator. Out: a square-ish frame around the head at
the size of a picture on the web, and a degradation drawn once and applied to both twins alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from telltale.lab.edits import CannotPlant
from telltale.lab.landmarks import Landmarks, detected
from telltale.regions import Pixels

FACE_PX = (150.0, 300.0)
"""Width of the face in a frame, before the matched resizing."""


@dataclass(frozen=True)
class Framed:
    """A frame of a photograph, the landmarks in its pixels, and its window in the photograph's."""

    pixels: Pixels
    landmarks: Landmarks
    window: tuple[int, int, int, int]
    """Left, top, right, bottom."""


@dataclass(frozen=True)
class Degradation:
    """What happens to both twins: resizing, then blur, then JPEG."""

    scale: float
    blur_px: float
    quality: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Degradation:
        """Resizing to 0.65..1 for a third, blur to 0.8 px for a third, JPEG quality 70..98."""
        scale = round(float(rng.uniform(0.65, 1.0)), 3) if rng.random() < 0.33 else 1.0
        blur = round(float(rng.uniform(0.3, 0.8)), 3) if rng.random() < 0.33 else 0.0
        return cls(scale, blur, int(rng.integers(70, 99)))

    def sized(self, pixels: Pixels) -> Pixels:
        """The resizing alone."""
        if self.scale == 1.0:
            return pixels
        size = (round(pixels.shape[1] * self.scale), round(pixels.shape[0] * self.scale))
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def applied(self, pixels: Pixels) -> Pixels:
        """Resizing and blur; JPEG comes with ``encoded``."""
        out = self.sized(pixels)
        if self.blur_px:
            out = np.asarray(cv2.GaussianBlur(out, (0, 0), self.blur_px), dtype=np.uint8)
        return out


def framed(pixels: Pixels, landmarks: Landmarks, rng: np.random.Generator) -> Framed:
    """A frame with head, neck and some wall, shrunk so that the face is ``FACE_PX`` wide.

    A smaller face keeps its size: nothing is enlarged. ``CannotPlant`` under 48 px of face.
    """
    x0, y0, x1, y1 = detected(landmarks)[0][1]
    w, h = x1 - x0, y1 - y0
    height, width = pixels.shape[:2]
    grow = rng.uniform((0.45, 0.55, 0.45, 0.4), (0.9, 0.85, 0.9, 0.75))
    left, top = max(0, round(x0 - grow[0] * w)), max(0, round(y0 - grow[1] * h))
    right, bottom = min(width, round(x1 + grow[2] * w)), min(height, round(y1 + grow[3] * h))
    wanted = float(np.exp(rng.uniform(*np.log(FACE_PX))))
    if min(w, right - left, bottom - top) < 48:
        raise CannotPlant("the face is under 48 px wide or outside the picture")
    scale = min(1.0, wanted / w)
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    size = (round(part.shape[1] * scale), round(part.shape[0] * scale))
    if scale < 1.0:
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    moved = landmarks.moved(1.0, -left, -top).moved(scale)
    return Framed(part, moved, (left, top, right, bottom))


def encoded(pixels: Pixels, quality: int) -> bytes:
    """A picture as JPEG bytes."""
    ok, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError(f"the JPEG encoder refused a picture of shape {pixels.shape}")
    return bytes(data.tobytes())
