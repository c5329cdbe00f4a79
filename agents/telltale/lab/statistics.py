"""The figures of evidence.md with bootstrap intervals.

In: labels (0/1), scores, verdicts, clusters (people: pictures of one person are not independent).
Out: ``Figure``s. Percentile bootstrap over clusters (Efron and Tibshirani 1993), seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Array = NDArray[np.float64]
RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """A value with the bounds of its 95% interval; NaN where it cannot be computed."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """JSON has no NaN: null where there is nothing."""
        return {k: None if np.isnan(v) else round(v, 4) for k, v in vars(self).items()}


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figure:
    """``statistic`` of all row numbers, and its interval when clusters are drawn again."""
    names = sorted(set(clusters))
    rows = {c: np.flatnonzero(np.array(clusters) == c) for c in names}
    value = statistic(np.arange(len(clusters)))
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(
            np.concatenate([rows[names[i]] for i in rng.integers(len(names), size=len(names))])
        )
        for _ in range(resamples if len(names) > 1 else 0)
    ]
    known = [d for d in drawn if not np.isnan(d)]
    if not known:
        return Figure(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(value, float(low), float(high))


def auroc(labels: Array, scores: Array) -> float:
    """Area under the ROC curve (Mann-Whitney), ties counted half; NaN with one class only."""
    positive, negative = scores[labels > 0], scores[labels == 0]
    if not len(positive) or not len(negative):
        return float("nan")
    order = np.sort(negative)
    below = np.searchsorted(order, positive, "left")
    ties = np.searchsorted(order, positive, "right") - below
    return float((below + 0.5 * ties).sum() / (len(positive) * len(negative)))


def expected_calibration_error(labels: Array, probabilities: Array, bins: int = 10) -> float:
    """ECE over equal-width bins (Naeini et al., AAAI 2015)."""
    if not len(labels):
        return float("nan")
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [
        abs(labels[which == b].mean() - probabilities[which == b].mean()) * (which == b).mean()
        for b in range(bins)
        if (which == b).any()
    ]
    return float(np.sum(gaps))


def brier(labels: Array, probabilities: Array) -> float:
    """Mean squared error of the probabilities (Brier 1950)."""
    return float(np.mean((probabilities - labels) ** 2)) if len(labels) else float("nan")


def aurc(wrong: Array, confidence: Array) -> float:
    """Area under the risk-coverage curve (Geifman and El-Yaniv 2017); lower is better."""
    if not len(wrong):
        return float("nan")
    errors = wrong[np.argsort(-confidence, kind="stable")]
    return float(np.mean(np.cumsum(errors) / np.arange(1, len(errors) + 1)))


def coverage_at_risk(wrong: Array, confidence: Array, risk: float = 0.1) -> float:
    """Largest share of pictures answered, most confident first, at no more than that risk."""
    if not len(wrong):
        return float("nan")
    errors = wrong[np.argsort(-confidence, kind="stable")]
    risks = np.cumsum(errors) / np.arange(1, len(errors) + 1)
    within = np.flatnonzero(risks <= risk)
    return float((within[-1] + 1) / len(errors)) if len(within) else 0.0


def ratio(part: float, whole: float) -> float:
    """part / whole, NaN for nothing."""
    return part / whole if whole else float("nan")


def f_beta(precision: float, recall: float, beta: float = 1.0) -> float:
    """Weighted harmonic mean of precision and recall (van Rijsbergen 1979)."""
    weight = beta**2
    below = weight * precision + recall
    return (1 + weight) * precision * recall / below if below > 0 else float("nan")


def macro_f1(truth: Array, said: NDArray[np.str_]) -> float:
    """Mean of the F1 of 'manipulated' and of 'authentic'; a class there but never hit counts 0."""
    scores = []
    for label, there in (("manipulated", truth > 0), ("authentic", truth == 0)):
        named = said == label
        hits = float((named & there).sum())
        precision, recall = ratio(hits, float(named.sum())), ratio(hits, float(there.sum()))
        scores.append(f_beta(precision, recall) if hits else 0.0)
    return float(np.mean(scores))


def mcnemar(first_right: Array, second_right: Array) -> dict[str, float]:
    """McNemar's exact test on paired answers (McNemar 1947): pictures that only the first, and
    only the second got right, and the two-sided p of so uneven a split.

    It takes pictures as independent; beside it belongs an interval that draws people.
    """
    first = int(((first_right > 0) & (second_right == 0)).sum())
    second = int(((first_right == 0) & (second_right > 0)).sum())
    p = float(binomtest(first, first + second).pvalue) if first + second else 1.0
    return {"only_first": first, "only_second": second, "p": round(p, 6)}
