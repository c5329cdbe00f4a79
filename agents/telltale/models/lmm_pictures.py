"""The pictures that go with a question: the whole, its close-ups, or one sheet with both.

In: a ``Question``. Out: H x W x 3 uint8 arrays. Pure functions; nothing fails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from telltale.models import Question
from telltale.regions import Pixels

WHOLE_PX = 1024
"""Longest side of the whole picture: enough for its layout; the evidence is in the close-ups."""
COLUMNS = 4


def whole(pixels: Pixels, longest_px: int = WHOLE_PX) -> Pixels:
    """The picture, shrunk to ``longest_px`` if it is larger."""
    height, width = pixels.shape[:2]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def close_ups(question: Question) -> tuple[list[str], list[Pixels]]:
    """The regions asked about that have a crop, in the order asked, each once; and their crops.

    The whole picture is no close-up of itself.
    """
    asked = dict.fromkeys(region for _, region in question.asked)
    shown = [r for r in asked if r in question.crops and r != "image"]
    return shown, [question.crops[r] for r in shown]


def sheet(pixels: Pixels, crops: Sequence[Pixels]) -> Pixels:
    """One picture: the whole on top, below it the close-ups from left to right in rows of four."""
    if not crops:
        return whole(pixels)
    side = crops[0].shape[0]
    width = side * COLUMNS
    top = np.asarray(
        Image.fromarray(pixels).resize(
            (width, max(1, round(pixels.shape[0] * width / pixels.shape[1])))
        )
    )
    rows = -(-len(crops) // COLUMNS)
    below = np.zeros((rows * side, width, 3), np.uint8)
    for n, crop in enumerate(crops):
        y, x = divmod(n, COLUMNS)
        below[y * side : (y + 1) * side, x * side : (x + 1) * side] = crop
    return np.concatenate([top, below])
