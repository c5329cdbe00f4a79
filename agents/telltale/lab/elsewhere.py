"""People of a studio put somewhere else: another place behind them, other light, another camera.

In: a studio picture, the matte of its person, photographs without people, a random generator. Out: a
picture of the same size in which nothing is planted yet. Models that saw one studio alone take every
other place for a manipulation. Pure functions of their arguments; pictures of at least 16 px a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.lab.cutouts import backgrounds
from telltale.lab.scenery import backdrop, jittered
from telltale.regions import Pixels

Alpha = NDArray[np.uint8]
KEPT_WALL = 0.25
"""Share of the pictures whose studio wall stays: only light and camera differ."""


@dataclass(frozen=True)
class Elsewhere:
    """How large a share of the pictures is moved, and what may stand behind them."""

    share: float
    scenes: Sequence[Pixels]

    @classmethod
    def packaged(cls, share: float) -> Elsewhere:
        """With the photographs without people that installed packages carry."""
        return cls(share, backgrounds())

    def moved(self, picture: Pixels, alpha: Alpha, rng: np.random.Generator) -> Pixels:
        """``picture`` (H x W x 3) with its person, where ``alpha`` (h x w, 0 to 255) is, elsewhere."""
        person = jittered(rng, picture)
        if self.scenes and rng.random() >= KEPT_WALL:
            person = self._before(person, alpha, rng)
        return _taken(person, rng)

    def _before(self, person: Pixels, alpha: Alpha, rng: np.random.Generator) -> Pixels:
        height, width = person.shape[:2]
        behind = backdrop(rng, self.scenes, max(height, width))[:height, :width]
        cover = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
        share = cover.astype(np.float32)[..., None] / 255
        return np.asarray(behind + (person - behind.astype(np.float32)) * share, dtype=np.uint8)


def _taken(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """What a camera adds: softness or sharpening, grain, its own JPEG; seldom no colour."""
    height, width = picture.shape[:2]
    if rng.random() < 0.05:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        picture = np.repeat(grey[..., None], 3, -1)
    if rng.random() < 0.3:
        small = float(rng.uniform(0.45, 0.95))
        size = (max(16, round(width * small)), max(16, round(height * small)))
        reduced = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        way = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[int(rng.integers(3))]
        picture = np.asarray(cv2.resize(reduced, (width, height), interpolation=way), np.uint8)
    if rng.random() < 0.4:
        soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.6, 1.6)))
        much = float(rng.uniform(-0.7, 1.2))  # below nothing is blur, above sharpening
        picture = np.asarray(cv2.addWeighted(picture, 1 + much, soft, -much, 0), np.uint8)
    if rng.random() < 0.5:
        grain = rng.standard_normal((height, width, 1 if rng.random() < 0.5 else 3), np.float32)
        if rng.random() < 0.3:
            grain = cv2.GaussianBlur(grain, (0, 0), 0.7).reshape(grain.shape) * np.float32(2)
        noisy = picture + grain * np.float32(np.exp(rng.uniform(0, np.log(9))))
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 98))]
        coded = cv2.imencode(".jpg", picture, quality)[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(picture)
