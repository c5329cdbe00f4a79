"""Edits beside the face: letters scrambled into strokes, straight background lines bent.

Both kinds have a dressing that goes onto both twins: a line or two of true letters on wall or
clothes, or straight lines on the wall, so that their mere presence tells nothing.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from telltale.lab.edits.canvas import (
    Floats,
    blurred,
    composed,
    corners,
    ellipse,
    inset,
    noise,
    soften,
    to_lab,
    warped,
    window_of,
)
from telltale.lab.edits.edit import CannotPlant, Dressed, Mask, Planted, Site
from telltale.lab.landmarks import Landmarks
from telltale.regions import Box, Pixels

WORDS = (
    "OPEN", "Station", "Market", "No 27", "HARBOUR", "Library", "Room 14", "EXIT", "Studio",
    "North", "Coffee", "Gallery", "WINTER", "Museum", "Platform 3", "GARDEN", "Theatre", "1986",
    "Summer", "Bakery", "CITY", "Record", "Please wait", "Hotel", "RIVER", "Lecture", "Press",
)  # fmt: skip


def lettering(pixels: Pixels, landmarks: Landmarks, rng: np.random.Generator) -> Dressed:
    """Print one to three words beside the head or on the chest, on a sign if it is restless there."""
    box = _free_place(pixels, landmarks, rng)
    window = window_of(corners(box), 0, pixels)
    height, width = window.shape
    sheet = Image.new("L", (width * 2, height * 2), 0)
    draw = ImageDraw.Draw(sheet)
    lines = [str(w) for w in rng.choice(WORDS, int(rng.integers(1, 4)), replace=False)]
    size = _fitting(lines, width * 2, height * 2)
    font = _font(size)
    for n, line in enumerate(lines):
        y = (n + 0.5) * 2 * height / len(lines)
        draw.text((width, y), line, fill=255, font=font, anchor="mm")
    small = sheet.resize((width, height), Image.Resampling.BOX)
    ink = np.asarray(np.asarray(small, dtype=np.float32) / 255, dtype=np.float32)
    ink = blurred(ink, 0.012 * landmarks.eye_distance_px) * np.float32(rng.uniform(0.75, 0.95))
    crop = window.cut(pixels)
    if crop.std(axis=(0, 1)).max() > 14:  # too restless to write on: put up a sign first
        board = np.clip(crop.mean((0, 1)) * 0.3 + rng.uniform(120, 180), 0, 255)
        crop = np.broadcast_to(board.astype(np.float32), crop.shape)
    dark = crop.mean() > 115
    colour = rng.uniform(15, 85, 3) if dark else rng.uniform(175, 240, 3)
    mask = inset(soften(ink, 0), 2)[..., None]
    written = np.rint(crop + (colour.astype(np.float32) - crop) * mask).astype(np.uint8)
    out = pixels.copy()
    out[window.y0 : window.y1, window.x0 : window.x1] = written
    return Dressed(out, box)


def glyphs(site: Site) -> Planted:
    """Turn letters into letter-like strokes: halves mirrored, swapped, strokes bent.

    ``CannotPlant`` where no dressing says where text is, or no letters are found there.
    """
    if site.where is None:
        raise CannotPlant("glyphs needs the box of the text")
    window = window_of(corners(site.where), 0, site.pixels)
    crop = window.cut(site.pixels)
    cells = _letters(crop)
    if len(cells) < 3:
        raise CannotPlant("no letters were found in the box of the text")
    ground = _ground(crop, cells)
    ink = crop - ground  # letters travel without the ground they stood on
    edited, mask = ink.copy(), np.zeros(window.shape, dtype=np.float32)
    count = max(2, round((0.3 + 0.7 * site.strength) * len(cells)))
    order = site.rng.permutation(len(cells))
    for n, at in enumerate(order[:count]):
        x, y, w, h = cells[at]
        other = cells[order[(n + 1) % len(order)]]
        edited[y : y + h, x : x + w] = _scrambled(ink, (x, y, w, h), other, site)
        mask[y : y + h, x : x + w] = 1.0
    unit = float(np.median([c[3] for c in cells]))
    bend = (0.05 + 0.13 * site.strength) * unit
    wide = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=2)
    soft = inset(soften(np.asarray(wide), 1.0), 2)
    dx = bend * noise(window.shape, 0.55 * unit, site.rng)
    dy = bend * noise(window.shape, 0.55 * unit, site.rng)
    written = np.clip(edited + ground, 0, 255).astype(np.float32)
    return composed(site.pixels, window, warped(written, dx * soft, dy * soft), soft)


def straight_lines(pixels: Pixels, landmarks: Landmarks, rng: np.random.Generator) -> Dressed:
    """Put parallel straight lines (panelling, blinds, tiles) on the wall behind the person."""
    box = _wall(pixels, landmarks)
    part = window_of(corners(box), 0, pixels)
    wall = _wall_mask(pixels, box)[: part.y1]
    unit = landmarks.eye_distance_px
    upright = rng.random() < 0.6
    xx = np.arange(part.x1, dtype=np.float32)[None]
    yy = np.arange(part.y1, dtype=np.float32)[:, None]
    tilt = np.float32(rng.uniform(-0.06, 0.06))
    along = xx + tilt * yy if upright else yy + tilt * xx
    gap, thick = rng.uniform(0.22, 0.5) * unit, max(1.0, rng.uniform(0.02, 0.05) * unit)
    turns = (along + np.float32(rng.uniform(0, gap))) / np.float32(gap)
    phase = np.abs(turns - np.floor(turns) - np.float32(0.5)) * np.float32(gap)
    ink = np.clip(np.float32(thick + 0.5) - phase, 0, 1)
    depth = np.float32(rng.uniform(0.16, 0.4) * (1 if rng.random() < 0.8 else -0.5))
    gain = 1 - depth * ink * wall
    lined = np.clip(np.rint(pixels[: part.y1] * gain[..., None]), 0, 255).astype(np.uint8)
    out = np.vstack([lined, pixels[part.y1 :]])
    return Dressed(out, box)


def bent_lines(site: Site) -> Planted:
    """Bend the background beside the head as a careless reshaping brush does."""
    box = site.where if site.where is not None else _wall(site.pixels, site.landmarks)
    unit = site.unit_px
    left = site.rng.random() < 0.5
    head = site.landmarks.group("hair_outline")
    edge = float(head[:, 0].min() if left else head[:, 0].max())
    room = edge - box[0] if left else box[2] - edge
    if room < 0.35 * unit:
        left, edge = not left, float(head[:, 0].max() if left else head[:, 0].min())
        room = edge - box[0] if left else box[2] - edge
    if room < 0.35 * unit:
        raise CannotPlant("there is no background beside the head")
    rx, ry = min(0.5 * room, 1.2 * unit), site.rng.uniform(0.8, 1.4) * unit
    x = edge + (-1 if left else 1) * rx
    y = site.rng.uniform(box[1] + 0.3 * (box[3] - box[1]), box[1] + 0.8 * (box[3] - box[1]))
    centre = np.array([x, y])
    window = window_of(np.array([[x - rx, y - ry], [x + rx, y + ry]]), 0, site.pixels)
    mask = inset(ellipse(centre, (rx, ry), window, 0.4), 4)
    bend = (0.035 + 0.14 * site.strength) * unit
    lobe = blurred(mask, 0.1 * unit) * bend
    dx = lobe * (0.6 * site.rng.choice([-1, 1]) + noise(window.shape, 0.9 * unit, site.rng))
    dy = lobe * (0.6 * site.rng.choice([-1, 1]) + noise(window.shape, 0.9 * unit, site.rng))
    edited = warped(window.cut(site.pixels), dx.astype(np.float32), dy.astype(np.float32))
    return composed(site.pixels, window, edited, soften(np.minimum(mask * 3, 1), 0))


def _scrambled(
    crop: Floats, cell: tuple[int, int, int, int], other: tuple[int, int, int, int], site: Site
) -> Floats:
    """One letter cell turned into something letter-like."""
    x, y, w, h = cell
    own = crop[y : y + h, x : x + w]
    ox, oy, ow, oh = other
    guest = cv2.resize(crop[oy : oy + oh, ox : ox + ow], (w, h), interpolation=cv2.INTER_AREA)
    half = max(1, h // 2)
    choice = int(site.rng.integers(4))
    if choice == 0:
        return np.vstack([own[:half], guest[half:]])
    if choice == 1:
        return np.vstack([guest[:half, ::-1], own[half:]])
    if choice == 2:
        return np.vstack([own[half:][::-1], own[:half][::-1]])[:h]
    middle = max(1, w // 2)
    return np.hstack([own[:, :middle], guest[::-1, middle:]])


def _ground(crop: Floats, cells: list[tuple[int, int, int, int]]) -> Floats:
    """What lies under the letters: their surroundings, smoothly continued."""
    quiet = np.ones(crop.shape[:2], dtype=np.float32)
    for x, y, w, h in cells:
        quiet[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2] = 0
    reach = float(np.median([c[3] for c in cells]))
    weight = blurred(quiet, reach)[..., None]
    flat = np.median(crop.reshape(-1, 3), axis=0)
    filled = (blurred(crop * quiet[..., None], reach) + 1e-3 * flat) / (weight + 1e-3)
    return np.asarray(filled, dtype=np.float32)


def _letters(crop: Floats) -> list[tuple[int, int, int, int]]:
    """Boxes x, y, w, h of connected dark or light strokes of letter size."""
    grey = crop.mean(2)
    ground = float(np.median(grey))
    away = np.abs(grey - ground)
    _, ink = cv2.threshold(
        np.clip(away, 0, 255).astype(np.uint8), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU
    )
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink)
    least = max(4, 0.08 * crop.shape[0])
    found = [(int(r[0]), int(r[1]), int(r[2]), int(r[3])) for r in stats[1:] if r[3] >= least]
    height, width = grey.shape
    inside = [
        c for c in found
        if c[0] > 0 and c[1] > 0 and c[0] + c[2] < width and c[1] + c[3] < height
    ]  # fmt: skip
    return [cell for x, y, w, h in inside for cell in _cells(x, y, w, h)]


def _cells(x: int, y: int, w: int, h: int) -> list[tuple[int, int, int, int]]:
    """A stroke as one cell, or letters that run together as cells of a letter's width."""
    count = max(1, round(w / (0.75 * h))) if w > 1.4 * h else 1
    edges = [x + round(i * w / count) for i in range(count + 1)]
    return [(a, y, b - a, h) for a, b in pairwise(edges) if b - a >= 2]


def _fitting(lines: list[str], width_px: int, height_px: int) -> int:
    size = int(height_px / len(lines) * 0.8)
    widest = max(_font(size).getlength(line) for line in lines)
    return max(8, int(size * min(1.0, 0.92 * width_px / widest)))


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType; lettering needs it")
    return font


def _free_place(pixels: Pixels, landmarks: Landmarks, rng: np.random.Generator) -> Box:
    """A box of 1.6 x 0.7 eye distances at most, beside the head or on the chest."""
    height, width = pixels.shape[:2]
    unit = landmarks.eye_distance_px
    hair, chin = landmarks.group("hair_outline"), landmarks.points[129]
    left, right = float(hair[:, 0].min()) - 0.25 * unit, float(hair[:, 0].max()) + 0.25 * unit
    wide, high = rng.uniform(1.2, 1.7) * unit, rng.uniform(0.45, 0.75) * unit
    top = float(rng.uniform(0.08 * height, max(0.09 * height, float(chin[1]) - high)))
    chest = float(chin[1]) + 1.75 * unit
    places: list[Box] = []
    if left > 0.9 * unit:
        w = min(wide, left - 0.05 * unit)
        places.append((left - w, top, left, top + high))
    if width - right > 0.9 * unit:
        w = min(wide, width - right - 0.05 * unit)
        places.append((right, top, right + w, top + high))
    if height - chest > 0.4 * unit:
        x = float(chin[0]) + rng.uniform(-0.3, 0.3) * unit
        places.append((x - wide / 2, chest, x + wide / 2, min(chest + high, height - 2.0)))
    if not places:
        raise CannotPlant("there is no room for lettering beside the face")
    return places[int(rng.integers(len(places)))]


def _wall(pixels: Pixels, landmarks: Landmarks) -> Box:
    """Where the wall behind a person is looked for: from the top down to the chin."""
    bottom = min(float(pixels.shape[0]), float(landmarks.points[129, 1]))
    return 0.0, 0.0, float(pixels.shape[1]), bottom


def _wall_mask(pixels: Pixels, box: Box) -> Mask:
    """Pixels like those of the picture's upper border, joined to it: the wall, not the person."""
    height, width = pixels.shape[:2]
    scale = 160 / max(height, width)
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    flooded = np.zeros((small.shape[0] + 2, small.shape[1] + 2), dtype=np.uint8)
    flags = 4 | (1 << 8) | cv2.FLOODFILL_MASK_ONLY
    step = max(1, small.shape[1] // 12)
    seeds = [(x, 1) for x in range(1, small.shape[1] - 1, step)]
    rows = range(1, int(box[3] * scale) - 1, step)
    seeds += [(1, y) for y in rows] + [(small.shape[1] - 2, y) for y in rows]
    smooth = np.asarray(to_lab(cv2.GaussianBlur(small, (0, 0), 0.8).astype(np.float32)))
    for seed in seeds:
        cv2.floodFill(smooth.copy(), flooded, seed, 0, (2.5,) * 3, (2.5,) * 3, flags)
    mask = flooded[1:-1, 1:-1].astype(np.float32)
    mask = cv2.erode(mask, np.ones((3, 3), np.uint8))
    mask = cv2.GaussianBlur(np.asarray(mask), (0, 0), 0.8)
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.float32)
