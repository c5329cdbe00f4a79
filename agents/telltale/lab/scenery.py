"""What stands behind and over the people of a composite: backdrops, cloth, light, camera.

In: photographs without people and a random generator. Out: pictures, H x W x 3 uint8. Pure
functions of their arguments; nothing fails for pictures of at least 16 px a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.regions import Pixels


def patch(rng: np.random.Generator, scenes: Sequence[Pixels], width: int, height: int) -> Pixels:
    """A random window of a random photograph, stretched to width x height."""
    scene = scenes[int(rng.integers(len(scenes)))]
    high, wide = scene.shape[:2]
    side = float(np.exp(rng.uniform(np.log(0.15), 0.0))) * min(high, wide)
    tall = min(high, side * np.exp(rng.normal(0, 0.25)))
    x, y = rng.uniform(0, wide - min(side, wide)), rng.uniform(0, high - tall)
    window = scene[int(y) : int(y + tall) + 1, int(x) : int(x + side) + 1]
    if rng.random() < 0.5:
        window = window[:, ::-1]
    if rng.random() < 0.15:
        window = window[::-1]
    way = cv2.INTER_AREA if window.shape[1] > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(window, (width, height), interpolation=way), dtype=np.uint8)


def backdrop(rng: np.random.Generator, scenes: Sequence[Pixels], size: int) -> Pixels:
    """A cluttered square: a photograph, perhaps mixed with another and with pieces of others."""
    picture = jittered(rng, patch(rng, scenes, size, size))
    if rng.random() < 0.25:
        share = np.float32(rng.uniform(0.3, 0.7))
        other = patch(rng, scenes, size, size)
        picture = (picture * share + other * (1 - share)).astype(np.uint8)
    for _ in range(int(rng.integers(0, 7)) if rng.random() < 0.6 else 0):
        wide, high = (max(8, int(size * rng.uniform(0.06, 0.6))) for _ in range(2))
        x, y = int(rng.integers(0, size)), int(rng.integers(0, size))
        wide, high = min(wide, size - x), min(high, size - y)
        if min(wide, high) < 4:
            continue
        piece = jittered(rng, patch(rng, scenes, wide, high))
        if rng.random() < 0.35:
            piece[:] = rng.integers(0, 256, 3)
        mask = np.full((high, wide), 1.0, np.float32)
        if rng.random() < 0.5:
            mask[:] = 0.0
            cv2.ellipse(mask, (wide // 2, high // 2), (wide // 2, high // 2), 0, 0, 360, 1.0, -1)
        below = picture[y : y + high, x : x + wide]
        picture[y : y + high, x : x + wide] = (
            below + (piece.astype(np.float32) - below) * mask[..., None]
        )
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.6, 4)))
    return np.ascontiguousarray(picture)


def jittered(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Another white balance, exposure, contrast, saturation; often light from one side."""
    gain = np.exp(rng.normal(0, 0.10, 3) + rng.normal(0, 0.22))
    gamma = float(np.exp(rng.normal(0, 0.2)))
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma * gain
    table = (np.clip(ramp, 0, 1) * 255).astype(np.uint8)
    out = cv2.LUT(np.ascontiguousarray(pixels), table[:, None, :])
    if rng.random() < 0.4:
        grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = float(rng.uniform(0.0, 1.6))
        out = cv2.addWeighted(out, share, grey, 1 - share, 0)
    if rng.random() < 0.4:
        out = _side_lit(rng, np.asarray(out))
    return np.asarray(out, dtype=np.uint8)


def finished(rng: np.random.Generator, picture: Pixels) -> Pixels:
    """What a camera and a file format add: light, colour, blur, noise, resampling, JPEG."""
    size = picture.shape[0]
    if rng.random() < 0.6:
        picture = jittered(rng, picture)
    if rng.random() < 0.08:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        picture = np.repeat(grey[..., None], 3, -1)
    if rng.random() < 0.25:
        small = int(size * rng.uniform(0.4, 0.95))
        picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.6)))
    if rng.random() < 0.3:
        noise = rng.standard_normal((size, size, 1 if rng.random() < 0.5 else 3), np.float32)
        noisy = picture + noise * np.float32(rng.uniform(1, 14))
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))]
        coded = cv2.imencode(".jpg", picture, quality)[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(picture, dtype=np.uint8)


def _side_lit(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    light: NDArray[np.float32] = 1 + np.float32(rng.uniform(0.1, 0.6)) * (across + down)
    return np.asarray(np.clip(pixels * light[..., None], 0, 255), dtype=np.uint8)
