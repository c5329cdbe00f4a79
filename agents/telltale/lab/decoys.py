"""What is taken for a face and is none, and what people wear before one.

In: a picture (H x W x 3 uint8), a random generator, photographs without people, cut-out people.
Out: the picture with round, shiny, lettered and skin-coloured things in it, or with glasses, dark
ones among them, over a pair of eyes. Nothing fails for pictures of at least 16 px a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.lab import landmarks as marks
from telltale.lab.cutouts import Layer
from telltale.lab.scenery import jittered, patch
from telltale.regions import Box, Pixels

FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)  # fmt: skip
LETTERS = "ABCDEFGHIKMNOPQRSTUVWXYZabcdeghkmnopqrsuwxz0234689&@%?!"
DARK = 0.6
"""Glass of at least this share of ink hides the eyes behind it."""


def cluttered(
    rng: np.random.Generator, picture: Pixels, people: Sequence[Layer], scenes: Sequence[Pixels]
) -> Pixels:
    """A copy of the picture (H x W x 3 uint8) with one to five decoys in it."""
    out = picture.copy()
    for _ in range(int(rng.integers(1, 6))):
        side = max(8, int(out.shape[0] * np.exp(rng.uniform(np.log(0.04), np.log(0.45)))))
        kind = rng.random()
        if kind < 0.45:
            pixels, mask = _round(rng, scenes, side)
        elif kind < 0.70:
            pixels, mask = _letter(rng, side)
        else:
            pixels, mask = _piece(rng, people, side)
        _placed(rng, out, pixels, mask)
    return out


def glasses(rng: np.random.Generator, picture: Pixels, eyes: Sequence[Box]) -> bool:
    """Draw glasses over two eyes (boxes in px), in place; whether they are too dark to see the eyes through.

    Nothing is drawn over eyes less than 6 px apart.
    """
    centres = sorted(((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in eyes)
    left, right = np.array(centres[0]), np.array(centres[1])
    along = right - left
    apart = float(np.hypot(*along))
    if apart < 6:
        return False
    along, down = along / apart, np.array([-along[1], along[0]]) / apart
    wide, tall = apart * rng.uniform(0.34, 0.49), apart * rng.uniform(0.22, 0.46)
    power, lower = rng.uniform(2.0, 5.0), rng.uniform(-0.05, 0.15) * apart
    tint = float(rng.uniform(0.7, 1.0)) if rng.random() < 0.5 else float(rng.uniform(0.0, 0.25))
    angle = np.linspace(0, 2 * np.pi, 40)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power) * wide
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power) * tall
    drop = 1 + rng.uniform(-0.2, 0.25) * np.clip(np.sin(angle), 0, 1)  # an aviator's, or less
    shapes = [
        centre + lower * down + (x * side)[:, None] * along + (y * drop)[:, None] * down
        for centre, side in ((left, -1.0), (right, 1.0))
    ]
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(mask, [_fixed(s) for s in shapes], 255, cv2.LINE_AA, shift=4)
    ink = rng.uniform(0, 70, 3) if rng.random() < 0.8 else rng.uniform(0, 200, 3)
    shade = np.clip(1 + rng.uniform(-0.8, 0.8) * np.linspace(-1, 1, picture.shape[0]), 0.2, 2)
    glass = ink * shade[:, None, None] + rng.uniform(0, 60) * (rng.random() < 0.4)
    share = (mask.astype(np.float32) / 255.0 * tint)[..., None]
    picture[:] = np.clip(picture + (glass - picture) * share, 0, 255).astype(np.uint8)
    frame = tuple(
        int(v) for v in (rng.integers(0, 90, 3) if rng.random() < 0.7 else rng.integers(0, 256, 3))
    )
    thick = max(1, round(apart * rng.uniform(0.015, 0.09)))
    if rng.random() < 0.85:
        cv2.polylines(picture, [_fixed(s) for s in shapes], True, frame, thick, cv2.LINE_AA, 4)
    inner, outer = left + along * wide * 0.9, right - along * wide * 0.9
    bars = [(inner, outer), (left - along * wide, left - along * apart * 0.75),
            (right + along * wide, right + along * apart * 0.75)]  # fmt: skip
    for one, other in bars:
        ends = _fixed(np.stack([one, other]) + lower * 0.6 * down)
        cv2.polylines(picture, [ends], False, frame, thick, cv2.LINE_AA, 4)
    return tint >= DARK


Piece = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Pixels, H x W x 3 of 0 to 255, and a mask of 0 to 1, H x W."""


def _round(rng: np.random.Generator, scenes: Sequence[Pixels], side: int) -> Piece:
    """A coin, a wheel, a lamp, a ball: a shaded disc, perhaps with rings, spokes, a relief."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    x = x * np.float32(np.exp(rng.uniform(0, 0.5)))
    far = np.hypot(x, y)
    skin = np.array([205, 150, 120]) * rng.uniform(0.3, 1.15)
    base = skin if rng.random() < 0.4 else rng.uniform(20, 240, 3)
    light = 1 + rng.uniform(-0.5, 0.5) * x + rng.uniform(-0.5, 0.5) * y
    light = light + rng.uniform(-0.6, 0.4) * far**2
    pixels = base.astype(np.float32) * light[..., None]
    if rng.random() < 0.5:
        relief = patch(rng, scenes, side, side).astype(np.float32)
        relief -= relief.mean()
        inside = (far < rng.uniform(0.5, 0.95)).astype(np.float32)[..., None]
        pixels = pixels + relief * inside * np.float32(rng.uniform(0.2, 1.0))
    for _ in range(int(rng.integers(0, 4))):
        ring = np.exp(-(((far - rng.uniform(0.1, 1.0)) / rng.uniform(0.02, 0.12)) ** 2))
        pixels = pixels + (rng.uniform(-120, 120) * ring)[..., None]
    if rng.random() < 0.25:
        spokes = np.cos(np.arctan2(y, x) * float(rng.integers(3, 9)) + rng.uniform(0, 6))
        pixels = pixels + (rng.uniform(-90, 90) * spokes * (far > 0.25))[..., None]
    return pixels.astype(np.float32), np.clip((1 - far) * side / 3, 0, 1).astype(np.float32)


def _letter(rng: np.random.Generator, side: int) -> Piece:
    """A letter or figure, thin or fat, on nothing or on a plate."""
    mask = np.zeros((side, side), np.uint8)
    font = FONTS[int(rng.integers(len(FONTS)))]
    text = LETTERS[int(rng.integers(len(LETTERS)))]
    thick = max(1, int(side * rng.uniform(0.02, 0.16)))
    (wide, high), _ = cv2.getTextSize(text, font, 1.0, thick)
    scale = side * 0.8 / max(wide, high)
    at = (int((side - wide * scale) / 2), int((side + high * scale) / 2))
    cv2.putText(mask, text, at, font, scale, 255, thick, cv2.LINE_AA)
    ink = mask.astype(np.float32) / 255.0
    pixels = np.full((side, side, 3), rng.uniform(0, 255, 3), np.float32)
    if rng.random() < 0.5:
        return pixels, ink
    plate = rng.uniform(0, 255, 3).astype(np.float32)
    return plate + (pixels - plate) * ink[..., None], np.ones((side, side), np.float32)


def _piece(rng: np.random.Generator, people: Sequence[Layer], side: int) -> Piece:
    """A piece of a person that holds no face: cheek, neck, hair, ear, shoulder."""
    layer = people[int(rng.integers(len(people)))]
    face = marks.detected(marks.Landmarks(layer.points))[0][1]
    width, height = face[2] - face[0], face[3] - face[1]
    places = {
        "cheek": (face[0] + width * rng.choice([0.14, 0.86]), face[1] + height * 0.62),
        "neck": (face[0] + width * 0.5, face[3] + height * 0.25),
        "hair": (face[0] + width * rng.uniform(0.2, 0.8), face[1] - height * 0.38),
        "ear": (face[0] + width * rng.choice([-0.06, 1.06]), face[1] + height * 0.35),
        "shoulder": (face[0] + width * rng.choice([-0.2, 1.2]), face[3] + height * 0.55),
    }
    x, y = places[str(rng.choice(list(places)))]
    window = max(8.0, width * rng.uniform(0.18, 0.34))
    scale = side / window
    matrix = np.array([[scale, 0, side / 2 - x * scale], [0, scale, side / 2 - y * scale]])
    pixels = cv2.warpAffine(
        layer.pixels[0],
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mask = np.zeros((side, side), np.float32)
    axes = (int(side * rng.uniform(0.3, 0.5)), int(side * rng.uniform(0.3, 0.5)))
    cv2.ellipse(mask, (side // 2, side // 2), axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    return jittered(rng, np.asarray(pixels, np.uint8)).astype(np.float32), mask


def _placed(
    rng: np.random.Generator,
    picture: Pixels,
    pixels: NDArray[np.float32],
    mask: NDArray[np.float32],
) -> None:
    """Turned, stretched, softened and laid on the picture, in place."""
    high, wide = picture.shape[:2]
    side = mask.shape[0]
    turn, size = rng.uniform(-180, 180) if rng.random() < 0.5 else 0.0, rng.uniform(0.8, 1.2)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, size)
    matrix[:, 2] += np.array([rng.uniform(0, wide), rng.uniform(0, high)]) - side / 2
    laid = cv2.warpAffine(pixels, matrix, (wide, high), flags=cv2.INTER_LINEAR)
    share = cv2.warpAffine(mask, matrix, (wide, high), flags=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        share = cv2.GaussianBlur(share, (0, 0), float(rng.uniform(0.4, 2.0)))
    mixed = picture + (laid - picture) * share[..., None]
    picture[:] = np.clip(mixed, 0, 255).astype(np.uint8)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points in the sixteenths of a pixel that OpenCV draws smooth outlines in."""
    return np.round(points * 16).astype(np.int32)
