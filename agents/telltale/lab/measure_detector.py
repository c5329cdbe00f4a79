"""Measure a detector on people it was never trained on: average precision, errors by group.

In: a folder of photographs with landmarks (and perhaps ``people.csv`` for the groups), weights. Out:
plain numbers with 95 % bootstrap intervals. Raises ``LookupError`` if the folder holds no usable
photograph, ``WeightsMissing`` for weights that are not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from telltale.lab import landmarks as marks
from telltale.lab.composites import compose
from telltale.lab.cutouts import backgrounds, held_out, layers
from telltale.lab.heads import head
from telltale.lab.people import groups_of
from telltale.lab.persons import people_of
from telltale.lab.precision import Marked, Part, by_width, compared, intervals, parts_found
from telltale.lab.statistics import bootstrap
from telltale.models.yolo import YoloDetector
from telltale.regions import overlap

FACE_WIDTHS_PX = (48, 96, 192)
"""Sizes at which whole photographs are shown when errors are counted by group."""

PARTS = ("eye", "nose", "mouth")

TURNS = ((0, 30), (30, 60), (60, 95))
"""Of heads, in degrees either way, at which faces are counted apart."""


def evaluate(
    faces: Path,
    weights: Path | None = None,
    seed: int = 0,
    pictures: int = 200,
    size_px: int = 640,
    scenes: Sequence[Path] = (),
    draws: int = 200,
    imgsz: int | None = None,
) -> dict[str, Any]:
    """Average precision at IoU 0.5 on composites of people never trained on, faces 24 to 500 px.

    A dict of ``value``, ``low``, ``high`` (95 % bootstrap over pictures) by class, and their
    ``mean``; and ``parts_found``, the share of parts found with the confidence that the weights are used
    with, by the width of their face. ``scenes``, if given, stand behind the people instead of the photographs that
    packages carry, which were seen in training. ``weights`` default to those shipped. The same
    seed gives the same pictures.
    """
    cv2.setNumThreads(1)
    detector = YoloDetector(weights, confidence=0.01, imgsz=imgsz)
    used = YoloDetector(weights, imgsz=imgsz)
    people, backs = layers(faces, measuring=True), backgrounds(scenes, packaged=not scenes)
    marked: list[Marked] = []
    parts: list[list[Part]] = []
    for number in range(pictures):
        rng = np.random.default_rng([seed, 1_000_003, number])
        picture, labels = compose(rng, people, backs, size_px)
        marked.append(compared(labels, detector.detect([picture])[0]))
        parts.append(parts_found(labels, used.detect([picture])[0]))
    out: dict[str, Any] = intervals(marked, draws, seed)
    out["parts_found"] = by_width(parts, seed, draws)
    return out | {"pictures": pictures, "seed": seed, "revision": detector.revision}


def misses_by_group(
    faces: Path, weights: Path | None = None, draws: int = 200, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Share of faces, and of eyes, noses and mouths, not found (IoU 0.5).

    By the groups of ``people.csv``, if there is one (``telltale.lab.people``), over whole photographs
    of people never trained on at three sizes: ``people``, and ``value``, ``low``, ``high`` of ``faces`` and ``parts``;
    intervals by bootstrap over people, null for a group of one.
    """
    detector = YoloDetector(weights)
    missed: dict[str, tuple[float, float]] = {}
    for person, paths in sorted(_kept(faces).items()):
        counts = np.concatenate([_missed(detector, path) for path in paths])
        missed[person] = (float(counts[:, 0].mean()), float(counts[:, 1].mean()))
    groups: dict[str, list[str]] = {"everyone": list(missed)}
    known = groups_of(faces)
    for person in missed:
        for group in known.get(person, ()):
            groups.setdefault(group, []).append(person)
    return {name: _summary([missed[p] for p in g], draws, seed) for name, g in groups.items()}


def precision_by_turn(
    faces: Path, weights: Path | None = None, seed: int = 0, pictures: int = 40, draws: int = 200
) -> dict[str, dict[str, Any]]:
    """Average precision of faces (IoU 0.5) by how far the head is turned: 0 is frontal, 90 a profile.

    On ``pictures`` composites a turn, as of ``evaluate``, of heads drawn in the skins of people never
    trained on (``telltale.lab.heads``), two in five with an open mouth.
    ``value``, ``low``, ``high`` by bootstrap over pictures.
    """
    cv2.setNumThreads(1)
    detector = YoloDetector(weights, confidence=0.01)
    people, backs = layers(faces, measuring=True), backgrounds()
    out: dict[str, dict[str, Any]] = {}
    for least, most in TURNS:
        rng = np.random.default_rng([seed, 1_000_033, least])
        drawn = [
            head(rng, layer, (float(rng.uniform(least, most) * rng.choice([-1, 1])), 0.0))
            for layer in people
        ]
        marked = []
        for _ in range(pictures):
            picture, labels = compose(rng, drawn, backs, 640)
            marked.append(compared(labels, detector.detect([picture])[0]))
        out[f"{least} to {most} degrees"] = intervals(marked, draws, seed)["face"]
    return out


def _kept(faces: Path) -> dict[str, list[Path]]:
    kept: dict[str, list[Path]] = {}
    people = people_of(faces, sorted(faces.rglob("*.jpg")))
    for path, person in people.items():
        if held_out(person):
            kept.setdefault(person, []).append(path)
    return kept


def _missed(detector: YoloDetector, path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """For each size, whether the face, and what share of the parts, was not found."""
    pixels = marks.photograph(path)
    landmarks = marks.beside(path, pixels)
    width = marks.detected(landmarks)[0][1]
    rows = []
    for wanted in FACE_WIDTHS_PX:
        scale = wanted / (width[2] - width[0])
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        truths = marks.detected(landmarks.moved(scale))
        found = detector.detect([np.asarray(small, dtype=np.uint8)])[0]
        lost = [
            (kind, not any(f[0] == kind and overlap(f[1], box) >= 0.5 for f in found))
            for kind, box, _, _ in truths
        ]
        parts = [gone for kind, gone in lost if kind in PARTS]
        rows.append((float(lost[0][1]), float(np.mean(parts))))
    return np.array(rows)


def _summary(missed: Sequence[tuple[float, float]], draws: int, seed: int) -> dict[str, Any]:
    table = np.array(missed)
    people = [str(n) for n in range(len(table))]
    figures = {
        name: bootstrap(lambda r, c=column: float(table[r, c].mean()), people, seed, draws)  # type: ignore[misc]
        for column, name in enumerate(("faces", "parts"))
    }
    return {"people": len(table)} | {name: f.as_json() for name, f in figures.items()}
