"""How good a profile is on a bench or a data set: the tables of evidence.md, with intervals.

In: samples with labels (and, where planted, the cue and person), the stages. Out: a dictionary of
``Figure``s. A score on planted edits is a score on planted edits.

COVER is the share of planted artifacts that a claim names; CHAIR the share of artifact claims that
name something not planted; Hal the share of pictures with any such claim (Rohrbach et al. 2018 and
Wang et al., "AMBER" 2023, applied to cues); F0.5 weighs the claims' precision over their recall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.lab.pipeline import Judged, Pipeline
from telltale.lab.statistics import (
    Array,
    Figure,
    aurc,
    auroc,
    bootstrap,
    brier,
    coverage_at_risk,
    expected_calibration_error,
    f_beta,
    ratio,
)

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """A picture with what is known of it; ``cue_id`` and ``kind`` where an edit was planted."""

    data: Callable[[], bytes]
    manipulated: bool
    person: str
    kind: str | None = None
    cue_id: str | None = None
    strength: float | None = None


@dataclass(frozen=True)
class Outcomes:
    """One row a picture."""

    manipulated: Array
    probability: Array
    said: NDArray[np.str_]
    person: list[str]
    kind: list[str]
    covered: Array
    false_claims: Array
    claims: Array
    planted: Array


def evaluate(
    pipeline: Pipeline, samples: Sequence[Labelled], say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """All figures for these samples; see ``figures``."""
    return figures(collect(pipeline, samples, say))


def collect(
    pipeline: Pipeline, samples: Sequence[Labelled], say: Callable[[str], None] = lambda _: None
) -> Outcomes:
    """Judge every sample through the stages."""
    rows = []
    for n, (sample, judged) in enumerate(
        zip(samples, pipeline.run(s.data() for s in samples), strict=True)
    ):
        rows.append(_row(sample, judged))
        if n % 64 == 63:
            say(f"{n + 1} of {len(samples)} pictures judged")
    columns = list(zip(*rows, strict=True)) or [()] * 7
    return Outcomes(
        manipulated=np.array([s.manipulated for s in samples], np.float64),
        probability=np.array(columns[0], np.float64),
        said=np.array(columns[1], np.str_),
        person=[s.person for s in samples],
        kind=[s.kind or "" for s in samples],
        covered=np.array(columns[2], np.float64),
        false_claims=np.array(columns[3], np.float64),
        claims=np.array(columns[4], np.float64),
        planted=np.array([s.cue_id is not None for s in samples], np.float64),
    )


def figures(o: Outcomes, seed: int = 0) -> dict[str, Any]:
    """The tables: every figure with its interval over people.

    'inconclusive' counts as an answer that is not right: accuracy is over all pictures, while
    ``coverage`` says how many were answered. Recall and precision are of 'manipulated'.
    """
    said = (o.said == "manipulated").astype(np.float64)
    answered = np.isin(o.said, ("manipulated", "authentic"))
    right = np.where(o.manipulated > 0, o.said == "manipulated", o.said == "authentic").astype(
        float
    )
    confidence = np.abs(o.probability - 0.5)
    wrong_side = ((o.probability >= 0.5) != (o.manipulated > 0)).astype(np.float64)

    def over(statistic: Callable[[Rows], float]) -> Figure:
        return bootstrap(statistic, o.person, seed)

    def precision(r: Rows) -> float:
        return ratio(float((said * o.manipulated)[r].sum()), float(said[r].sum()))

    def recall(r: Rows) -> float:
        return ratio(float((said * o.manipulated)[r].sum()), float(o.manipulated[r].sum()))

    def cover(r: Rows) -> float:
        return ratio(float(o.covered[r].sum()), float(o.planted[r].sum()))

    def chair(r: Rows) -> float:
        return ratio(float(o.false_claims[r].sum()), float(o.claims[r].sum()))

    table = {
        "auroc": over(lambda r: auroc(o.manipulated[r], o.probability[r])),
        "accuracy": over(lambda r: float(right[r].mean())),
        "precision": over(precision),
        "recall": over(recall),
        "f1": over(lambda r: f_beta(precision(r), recall(r))),
        "coverage": over(lambda r: float(answered[r].mean())),
        "ece": over(lambda r: expected_calibration_error(o.manipulated[r], o.probability[r])),
        "brier": over(lambda r: brier(o.manipulated[r], o.probability[r])),
        "aurc": over(lambda r: aurc(wrong_side[r], confidence[r])),
        "coverage_at_10_risk": over(lambda r: coverage_at_risk(wrong_side[r], confidence[r])),
        "cover": over(cover),
        "chair": over(chair),
        "hal": over(lambda r: float((o.false_claims[r] > 0).mean())),
        "f0_5": over(lambda r: f_beta(1 - chair(r), cover(r), 0.5)),
    }
    return {name: figure.as_json() for name, figure in table.items()} | {
        "auroc_by_kind": {k: f.as_json() for k, f in _by_kind(o, seed).items()},
        "pictures": len(o.person),
        "people": len(set(o.person)),
    }


def _by_kind(o: Outcomes, seed: int) -> dict[str, Figure]:
    """Edited pictures of one kind against all untouched ones."""
    kinds = np.array(o.kind)
    found = {}
    for kind in sorted({k for k, m in zip(o.kind, o.manipulated, strict=True) if m and k}):
        rows = np.flatnonzero((o.manipulated == 0) | (kinds == kind))
        found[kind] = _auroc_of(o, rows, seed)
    return found


def _auroc_of(o: Outcomes, rows: Rows, seed: int) -> Figure:
    labels, scores = o.manipulated[rows], o.probability[rows]
    people = [o.person[i] for i in rows]
    return bootstrap(lambda r: auroc(labels[r], scores[r]), people, seed, 400)


def _row(sample: Labelled, judged: Judged) -> tuple[float, str, float, float, float]:
    verdict = judged.verdict.verdict
    named = [c.cue_id for c in verdict.claims if c.polarity == "artifact"]
    false = sum(cue_id != sample.cue_id for cue_id in named)
    probability = 0.5 if verdict.probability is None else verdict.probability
    return (
        probability,
        verdict.verdict,
        float(sample.cue_id in named),
        float(false),
        float(len(named)),
    )
