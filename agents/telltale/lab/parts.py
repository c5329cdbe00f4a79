"""How good one of the mini models is by itself: the figures of its card.

In: which model, photographs with landmarks, weights, how much to measure on. Out: a dictionary ready for
JSON, with intervals. People that training never saw are used. Raises ``UsageError`` for a folder without
usable photographs, ``WeightsMissing`` for weights that are not there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telltale.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """``weights`` unset: those of the package. ``limit``: composites, pairs a kind, or pictures."""

    faces: Path
    weights: Path | None
    seed: int
    limit: int | None


def measured(part: str, asked: Asked) -> dict[str, Any]:
    """Figures of ``detector``, ``encoder`` or ``judge``. See the module."""
    if not asked.faces.is_dir():
        raise UsageError(f"--faces {asked.faces}: no such folder")
    try:
        return PARTS[part](asked)
    except LookupError as error:
        if isinstance(error, KeyError | IndexError):
            raise  # a fault of ours, not of the photographs
        raise UsageError(f"--faces {asked.faces}: {error}") from error


def _detector(asked: Asked) -> dict[str, Any]:
    from telltale.lab import measure_detector as detector
    from telltale.lab.outside import faces_outside
    from telltale.models.yolo import YoloDetector

    found = detector.evaluate(asked.faces, asked.weights, asked.seed, asked.limit or 100)
    missed = detector.misses_by_group(asked.faces, asked.weights, seed=asked.seed)
    turned = detector.precision_by_turn(
        asked.faces, asked.weights, asked.seed, max(1, round(0.4 * (asked.limit or 100)))
    )
    outside = faces_outside(YoloDetector(asked.weights))
    return {"average_precision": found, "turned": turned, "missed": missed, "outside": outside}


def _encoder(asked: Asked) -> dict[str, Any]:
    from telltale.lab.encoder_scores import evaluate

    return evaluate(asked.faces, asked.weights, asked.seed, asked.limit or 14)


def _judge(asked: Asked) -> dict[str, Any]:
    from telltale.lab.judge_figures import evaluate
    from telltale.models.lmm import load_mini
    from telltale.settings import load_settings

    judge = load_mini(load_settings(), asked.weights)
    with tempfile.TemporaryDirectory(prefix="telltale-twins-") as twins:
        return evaluate(judge, asked.faces, Path(twins), asked.seed, asked.limit or 192)


PARTS: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "detector": _detector,
    "encoder": _encoder,
    "judge": _judge,
}
