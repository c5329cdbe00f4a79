"""How well boxes are found: average precision at IoU 0.5, with bootstrap intervals.

In: for each picture, the true boxes and what a detector found. Out: plain numbers. Pure
functions; a class that is nowhere gets ``nan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.lab.composites import CLASSES, Labels
from telltale.lab.statistics import bootstrap
from telltale.models import Found
from telltale.regions import Box, overlap, owner

Floats = NDArray[np.float64]

WIDTHS_PX = (48, 90, 200)
"""Between these, faces are counted apart; what is under 90 px the pipeline passes over."""

Part = tuple[str, int, bool]
"""A class, the number of ``WIDTHS_PX`` that its face is as wide as at least, whether it was found."""


@dataclass(frozen=True)
class Marked:
    """One picture: by class, how many boxes are there, and the score of each finding and
    whether it is one of them (n x 2)."""

    there: tuple[int, ...]
    found: tuple[Floats, ...]


def compared(labels: Labels, found: Sequence[Found], threshold: float = 0.5) -> Marked:
    """Match findings to true boxes, best score first, each box once."""
    there, marks = [], []
    for number, name in enumerate(CLASSES):
        truths: list[Box] = [
            (float(r[1]), float(r[2]), float(r[3]), float(r[4])) for r in labels if r[0] == number
        ]
        mine = sorted(((f[2], f[1]) for f in found if f[0] == name), reverse=True)
        there.append(len(truths))
        rows = []
        for score, box in mine:
            ious = [overlap(box, t) for t in truths]
            hit = bool(ious) and max(ious) >= threshold
            if hit:
                truths.pop(int(np.argmax(ious)))
            rows.append((score, float(hit)))
        marks.append(np.array(rows, dtype=np.float64).reshape(-1, 2))
    return Marked(tuple(there), tuple(marks))


def parts_found(labels: Labels, found: Sequence[Found], threshold: float = 0.5) -> list[Part]:
    """Of each part in a face, whether a finding of its class overlaps it by ``threshold``."""
    boxes: list[tuple[str, Box]] = [
        (CLASSES[int(r[0])], (float(r[1]), float(r[2]), float(r[3]), float(r[4]))) for r in labels
    ]
    faces = [box for name, box in boxes if name == "face"]
    out = []
    for name, box in boxes:
        face = owner(box, faces) if name != "face" else None
        if face is not None:
            width = faces[face][2] - faces[face][0]
            hit = any(f[0] == name and overlap(f[1], box) >= threshold for f in found)
            out.append((name, sum(width >= w for w in WIDTHS_PX), hit))
    return out


def by_width(pictures: Sequence[Sequence[Part]], seed: int, draws: int) -> dict[str, Any]:
    """Share of parts found by class and width of their face, ``value``, ``low``, ``high`` and ``parts``;
    intervals by bootstrap over pictures."""
    names = [f"under {WIDTHS_PX[0]} px", *(f"{w} px and over" for w in WIDTHS_PX)]
    out: dict[str, Any] = {}
    for kind in CLASSES[1:]:
        for width, name in enumerate(names):
            hits = [
                (str(n), hit) for n, parts in enumerate(pictures)
                for part, wide, hit in parts if (part, wide) == (kind, width)
            ]  # fmt: skip
            if hits:
                found = np.array([hit for _, hit in hits], np.float64)

                def share(rows: NDArray[np.int64], found: Floats = found) -> float:
                    return float(found[rows].mean())

                figure = bootstrap(share, [n for n, _ in hits], seed, draws)
                out.setdefault(kind, {})[name] = figure.as_json() | {"parts": len(hits)}
    return out


def average_precision(marked: Sequence[Marked], number: int) -> float:
    """Area under the precision envelope over recall (all points), for one class."""
    total = sum(m.there[number] for m in marked)
    if total == 0:
        return float("nan")
    rows = np.concatenate([m.found[number] for m in marked])
    hits = rows[np.argsort(-rows[:, 0], kind="stable"), 1]
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hits).sum() / total)


def intervals(marked: Sequence[Marked], draws: int, seed: int) -> dict[str, dict[str, float]]:
    """Average precision by class, and its mean over all and over the parts of a face.

    With 95 % bootstrap intervals over pictures.
    """
    numbers = range(len(CLASSES))
    whole = [average_precision(marked, n) for n in numbers]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        chosen = [marked[i] for i in rng.integers(0, len(marked), len(marked))]
        drawn.append([average_precision(chosen, n) for n in numbers])
    table = np.array(drawn)
    table = np.hstack([table, table.mean(1, keepdims=True), table[:, 1:].mean(1, keepdims=True)])
    low, high = np.transpose([_bounds(column[~np.isnan(column)]) for column in table.T])
    values = [*whole, float(np.mean(whole)), float(np.mean(whole[1:]))]
    return {
        name: {"value": values[i], "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate((*CLASSES, "mean", "mean_of_parts"))
    }


def _bounds(drawn: Floats) -> Floats:
    return np.percentile(drawn, (2.5, 97.5)) if drawn.size else np.full(2, np.nan)
