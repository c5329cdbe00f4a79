"""Pictures with known faces: cut-out people on cluttered real backgrounds, drawn from a seed.

In: cut-out people and photographs without people (``telltale.lab.cutouts``). Out: square
pictures (H x W x 3 uint8) with the boxes of face, eye, nose, mouth and ear by the conventions of
``telltale.lab.landmarks``. The same seed, size and material draw the same picture; nothing fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.lab import decoys
from telltale.lab import landmarks as marks
from telltale.lab.cutouts import Layer
from telltale.lab.scenery import backdrop, finished, jittered, patch
from telltale.regions import Box, Pixels

CLASSES: tuple[str, ...] = ("face", "eye", "nose", "mouth", "ear")
Labels = NDArray[np.float32]
"""n x 5: class number, x0, y0, x1, y1 in pixels."""


def compose(
    rng: np.random.Generator,
    people: Sequence[Layer],
    scenes: Sequence[Pixels],
    size_px: int,
    harder: bool = False,
) -> tuple[Pixels, Labels]:
    """One picture of ``size_px`` squared with 0 to 8 people, and the boxes in it.

    ``harder`` adds decoys and dark glasses (``telltale.lab.decoys``): to learn from, not to be
    measured on, so that figures of different trainings are of the same pictures.
    """
    kind = rng.random()
    photographed = [p for p in people if p.turns]
    if kind < 0.12 and photographed:
        picture, found = _uncut(rng, photographed, size_px)
    else:
        picture = backdrop(rng, scenes, size_px)
        if harder and rng.random() < 0.4:
            picture = decoys.cluttered(rng, picture, photographed, scenes)
        count = 0 if kind < 0.20 else None
        picture, found = _populated(rng, picture, people, scenes, count, harder)
    return finished(rng, picture), _labels(found, size_px)


Face = list[tuple[str, Box]]


def _populated(
    rng: np.random.Generator,
    picture: Pixels,
    people: Sequence[Layer],
    scenes: Sequence[Pixels],
    count: int | None,
    harder: bool,
) -> tuple[Pixels, list[tuple[str, Box]]]:
    size = picture.shape[0]
    if count is None:
        count = int(rng.choice([1, 2, 3, 4, 5, 6, 8], p=[0.3, 0.22, 0.16, 0.12, 0.08, 0.07, 0.05]))
    largest = 0.8 * size / max(1.0, count**0.6)
    widths = np.exp(rng.uniform(np.log(0.0375 * size), np.log(largest), count))
    found: list[tuple[str, Box]] = []
    for width in np.sort(widths):
        layer = people[int(rng.integers(len(people)))]
        pasted = _pasted(rng, picture, layer, float(width), scenes, harder)
        if pasted is None:
            continue
        candidate, alpha, boxes = pasted
        covered = [_share(alpha, box) for _, box in found]
        if any(c > 0.35 for c, (name, _) in zip(covered, found, strict=True) if name == "face"):
            continue
        found = [f for f, c in zip(found, covered, strict=True) if c < 0.5] + boxes
        picture = candidate
    return picture, found


def _pasted(
    rng: np.random.Generator,
    picture: Pixels,
    layer: Layer,
    width_px: float,
    scenes: Sequence[Pixels],
    harder: bool,
) -> tuple[Pixels, NDArray[np.float32], Face] | None:
    size = picture.shape[0]
    face = marks.detected(marks.Landmarks(layer.points))[0][1]
    scale = width_px / (face[2] - face[0])
    centre = np.array([(face[0] + face[2]) / 2, (face[1] + face[3]) / 2])
    half = width_px * 0.45
    target = rng.uniform(half, size - half, 2) if half * 2 < size else np.full(2, size / 2)
    turn = np.deg2rad(rng.uniform(-30, 30) if rng.random() < 0.6 else rng.normal(0, 5))
    stretch = np.exp(rng.normal(0, 0.06))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear @ np.diag([flip * scale * stretch, scale / stretch])
    points = _turned(
        layer.points, layer.points, yaw_pitch := _pose(rng) if layer.turns else (0.0, 0.0)
    )
    moved = (points - centre) @ linear.T + target
    canvas = _sampling(layer.points, yaw_pitch, linear, centre, target, size)
    level = min(max(0, int(np.log2(0.8 / scale))), len(layer.pixels) - 1)
    source, alpha8 = layer.pixels[level], layer.alpha[level]
    canvas = (canvas + np.float32(0.5)) * np.float32(0.5**level) - np.float32(0.5)
    alpha = cv2.remap(alpha8, canvas, None, cv2.INTER_LINEAR)
    ys, xs = np.nonzero(alpha > 8)
    if len(ys) < 40:
        return None
    y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    window = canvas[y0:y1, x0:x1]
    pixels = cv2.remap(source, window, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = alpha[y0:y1, x0:x1].astype(np.float32) / 255.0
    chin = float(moved[marks.GROUPS["jaw"][7], 1]) - y0
    pixels = _dressed(rng, np.asarray(pixels), chin + 0.12 * width_px, scenes)
    if rng.random() < 0.35:  # a bare head: no shoulders below the neck
        fade = np.clip((chin + rng.uniform(0.05, 0.5) * width_px - np.arange(y1 - y0)) / 6, 0, 1)
        weight = weight * fade[:, None].astype(np.float32)
    pixels = jittered(rng, pixels)
    out = picture.copy()
    below = out[y0:y1, x0:x1].astype(np.float32)
    mixed = below + (pixels.astype(np.float32) - below) * weight[..., None]
    out[y0:y1, x0:x1] = np.clip(mixed, 0, 255).astype(np.uint8)
    whole = np.zeros((size, size), np.float32)
    whole[y0:y1, x0:x1] = weight
    boxes = _boxes(moved, layer.seen)
    eyes = [box for name, box in boxes if name == "eye"]
    if harder and len(eyes) == 2 and rng.random() < 0.18 and decoys.glasses(rng, out, eyes):
        boxes = [(name, box) for name, box in boxes if name != "eye"]
    return (*_occluded(rng, out, whole, boxes, scenes),)


def _pose(rng: np.random.Generator) -> tuple[float, float]:
    """Sines of a turn and a nod: how far the parts slide over the head, as shares of depth."""
    if rng.random() < 0.4:
        return 0.0, 0.0
    return float(np.sin(np.deg2rad(rng.uniform(-38, 38)))), float(
        np.sin(np.deg2rad(rng.uniform(-20, 20)))
    )


def _turned(
    at: NDArray[np.float64], points: marks.Points, pose: tuple[float, float]
) -> NDArray[np.float64]:
    """Where ``at`` (n x 2) lands when the head turns: slid by a smooth depth times ``pose``."""
    if pose == (0.0, 0.0):
        return at
    jaw = points[list(marks.GROUPS["jaw"])]
    radius = float(np.ptp(jaw[:, 0])) / 2
    centre = np.array([jaw[:, 0].mean(), (points[:2, 1].mean() + jaw[:, 1].max()) / 2])
    nose = points[list(marks.GROUPS["nose"])].mean(0) + np.array([0.0, 0.15 * radius])
    x, y = at[..., 0], at[..., 1]
    far = ((x - centre[0]) / radius) ** 2 + ((y - centre[1]) / (1.3 * radius)) ** 2
    near = ((x - nose[0]) ** 2 + (y - nose[1]) ** 2) / (0.3 * radius) ** 2
    depth = radius * (0.8 * np.exp(-1.1 * far) + 0.10 * np.exp(-near))
    return np.asarray(at + depth[..., None] * np.array(pose))


def _sampling(
    points: marks.Points,
    pose: tuple[float, float],
    linear: NDArray[np.float64],
    centre: NDArray[np.float64],
    target: NDArray[np.float64],
    size: int,
) -> NDArray[np.float32]:
    """For each pixel of the picture, where in the layer it comes from: size x size x 2."""
    back = np.linalg.inv(linear)
    matrix = np.hstack([back, (centre - back @ target)[:, None]])
    line = np.arange(size, dtype=np.float32)
    across, down = line[None, :], line[:, None]
    at = np.stack([r[0] * across + r[1] * down + r[2] for r in matrix.astype(np.float32)], -1)
    if pose == (0.0, 0.0):
        return at
    nodes = (np.arange(48) + 0.5) * size / 48 - 0.5
    wanted = np.stack(np.meshgrid(nodes, nodes), -1) @ back.T + matrix[:, 2]
    moved = wanted
    for _ in range(5):  # fixed point: the slide is a contraction for these angles
        moved = moved + (wanted - _turned(moved, points, pose))
    slid = (moved - wanted).astype(np.float32)
    return np.asarray(at + cv2.resize(slid, (size, size), interpolation=cv2.INTER_LINEAR))


def _dressed(
    rng: np.random.Generator, pixels: Pixels, below: float, scenes: Sequence[Pixels]
) -> Pixels:
    """The white shirt in another colour or cloth."""
    if rng.random() < 0.2:
        return pixels
    red, green, blue = cv2.split(pixels)
    top = cv2.max(cv2.max(red, green), blue).astype(np.float32)
    bottom = cv2.min(cv2.min(red, green), blue).astype(np.float32)
    shirt = np.clip((bottom - 95) / 40, 0, 1) * np.clip((48 - (top - bottom)) / 16, 0, 1)
    shirt *= np.clip((np.arange(pixels.shape[0]) - below) / 8, 0, 1)[:, None]
    cloth = rng.uniform(10, 255, 3).astype(np.float32)
    cover: NDArray[np.float32] = np.broadcast_to(cloth, pixels.shape).astype(np.float32)
    if rng.random() < 0.5:
        cover = patch(rng, scenes, pixels.shape[1], pixels.shape[0]).astype(np.float32)
    shade = (bottom / 215.0)[..., None]
    out = pixels + (cover * shade - pixels) * shirt[..., None]
    return np.asarray(np.clip(out, 0, 255), dtype=np.uint8)


def _occluded(
    rng: np.random.Generator,
    picture: Pixels,
    alpha: NDArray[np.float32],
    boxes: Face,
    scenes: Sequence[Pixels],
) -> tuple[Pixels, NDArray[np.float32], Face]:
    """Perhaps glasses, perhaps something in front of the face; parts hidden by it lose the box."""
    eyes = [box for name, box in boxes if name == "eye"]
    if rng.random() < 0.15 and len(eyes) == 2:
        ink = tuple(int(v) for v in rng.integers(0, 120, 3))
        filled = rng.random() < 0.3
        for x0, y0, x1, y1 in eyes:
            axes = (max(2, int((x1 - x0) * 0.62)), max(2, int((y1 - y0) * 0.95)))
            at = (int((x0 + x1) / 2), int((y0 + y1) / 2))
            thick = -1 if filled else max(1, axes[0] // 9)
            cv2.ellipse(picture, at, axes, 0, 0, 360, ink, thick, cv2.LINE_AA)
    if rng.random() > 0.25 or not boxes:
        return picture, alpha, boxes
    x0, y0, x1, y1 = boxes[0][1]
    width, height = x1 - x0, y1 - y0
    mask = np.zeros(alpha.shape, np.uint8)
    at = (int(rng.uniform(x0, x1)), int(rng.uniform(y0, y1)))
    axes = (int(width * rng.uniform(0.1, 0.5)) + 1, int(height * rng.uniform(0.1, 0.4)) + 1)
    if rng.random() < 0.5:
        cv2.ellipse(mask, at, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints((at, axes, float(rng.uniform(0, 90))))
        cv2.fillConvexPoly(mask, corners.astype(np.int32), 255, cv2.LINE_AA)
    if rng.random() < 0.4:
        cover = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), picture.shape)
    else:
        cover = patch(rng, scenes, picture.shape[1], picture.shape[0])
    hidden = mask.astype(np.float32) / 255.0
    out = picture + (cover.astype(np.float32) - picture) * hidden[..., None]
    visible = [
        (name, box)
        for name, box in boxes
        if _share(hidden, box) < (0.65 if name == "face" else 0.5)
    ]
    return out.astype(np.uint8), np.maximum(alpha, hidden), visible


def _uncut(
    rng: np.random.Generator, people: Sequence[Layer], size: int
) -> tuple[Pixels, list[tuple[str, Box]]]:
    """A whole studio photograph at a random crop and scale."""
    layer = people[int(rng.integers(len(people)))]
    level = int(size < 500)
    side = layer.pixels[level].shape[0]
    window = rng.uniform(0.35, 1.0) * side
    x0, y0 = rng.uniform(0, side - window), rng.uniform(0, side - window)
    scale = size / window
    matrix = np.array([[scale, 0, -x0 * scale], [0, scale, -y0 * scale]])
    picture = cv2.warpAffine(layer.pixels[level], matrix, (size, size), flags=cv2.INTER_AREA)
    points = (layer.points * 0.5**level - np.array([x0, y0])) * scale
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
        points = points * np.array([-1.0, 1.0]) + np.array([size - 1.0, 0.0])
    return np.ascontiguousarray(picture), _boxes(points, layer.seen)


def _boxes(points: marks.Points, seen: tuple[bool, ...]) -> Face:
    """Of the parts in sight. Points keep their names when mirrored, so parts keep theirs."""
    found = [(str(name), box) for name, box, _, _ in marks.detected(marks.Landmarks(points))]
    return [f for f, there in zip(found, seen, strict=True) if there]


def _labels(found: Iterable[tuple[str, Box]], size: int) -> Labels:
    """Boxes inside the picture; those mostly outside, or too small to be seen, are left out."""
    rows = []
    for name, (x0, y0, x1, y1) in found:
        inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size)), min(y1, float(size)))
        width, height = inside[2] - inside[0], inside[3] - inside[1]
        if width <= 0 or height <= 0 or max(width, height) < 5:
            continue
        if width * height >= 0.45 * (x1 - x0) * (y1 - y0):
            rows.append((float(CLASSES.index(name)), *inside))
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def _share(mask: NDArray[np.float32], box: Box) -> float:
    x0, y0, x1, y1 = (round(v) for v in box)
    inside = mask[max(0, y0) : max(1, y1), max(0, x0) : max(1, x1)]
    return float(inside.mean()) if inside.size else 0.0
