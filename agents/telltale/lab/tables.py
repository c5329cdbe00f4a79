"""The tables of evidence.md from outcomes: headline figures, and where they come from.

In: ``Outcomes``. Out: dictionaries of figures (``value``, ``low``, ``high``: 95% bootstrap over
people), ready for JSON; null where nothing can be computed. Pure functions of outcomes and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.lab.crops import LEFT_OUT
from telltale.lab.edits import STRENGTHS
from telltale.lab.outcomes import Outcomes
from telltale.lab.statistics import (
    aurc,
    auroc,
    bootstrap,
    brier,
    coverage_at_risk,
    expected_calibration_error,
    f_beta,
    macro_f1,
    mcnemar,
    ratio,
)

Rows = NDArray[np.int64]
Json = dict[str, Any]
STRENGTH_NAMES = dict(zip(STRENGTHS, ("subtle", "medium", "plain"), strict=True))
RESAMPLES_NESTED = 400
"""For figures that are many figures' means."""
LABEL_SEEDS = 20


def figures(o: Outcomes, seed: int = 0) -> Json:
    """The headline figures.

    'inconclusive' counts as an answer that is not right: accuracy is over all pictures, while
    ``coverage`` says how many were answered. Recall and precision are of 'manipulated'. Claims count
    where it is known what is there (``Outcomes.told``).
    """
    statistics = _statistics(o)
    found: Json = {name: _over(o, s, seed) for name, s in statistics.items()}
    return found | {"pictures": len(o.person), "people": len(set(o.person))}


def breakdowns(o: Outcomes, groups: Mapping[str, Sequence[str]], seed: int = 0) -> Json:
    """By kind, by strength, on kinds left out, against the own twin, by group of people."""
    kinds = sorted({str(k) for k in o.kind[o.manipulated > 0]} - {""})
    trained = [k for k in kinds if k not in LEFT_OUT]
    left_out = [k for k in kinds if k in LEFT_OUT]
    strengths = {n: s for s, n in STRENGTH_NAMES.items() if (o.strength == s).any()}
    table: Json = {
        "auroc_by_kind": {k: _mean_auroc(o, [k], None, seed) for k in kinds},
        "auroc_by_strength": {n: _mean_auroc(o, trained, s, seed) for n, s in strengths.items()},
        "by_group": _by_group(o, groups, seed),
    }
    if left_out:
        table["auroc_left_out"] = _mean_auroc(o, left_out, None, seed)
        table["auroc_left_out_by_strength"] = {
            n: _mean_auroc(o, left_out, s, seed) for n, s in strengths.items()
        }
    twins = _twins(o)
    if len(twins):
        table["edited_above_twin"] = _above(o, twins, None, seed)
        table["edited_above_twin_by_strength"] = {
            n: _above(o, twins, s, seed) for n, s in strengths.items()
        }
    return table


def naming(o: Outcomes, seed: int = 0) -> Json:
    """What the artifacts named are worth."""
    found = _statistics(o)
    return {name: _over(o, found[name], seed) for name in ("cover", "chair", "hal", "f0_5")}


def random_labels(o: Outcomes, seed: int = 0) -> Json:
    """Mean AUROC under labels drawn at random, ``LABEL_SEEDS`` times, and the range of 95% of them.

    Must end at one half: otherwise the way of counting, not the pictures, makes the figures.
    """
    drawn = [
        auroc(np.random.default_rng([seed, n]).permutation(o.manipulated), o.probability)
        for n in range(LABEL_SEEDS)
    ]
    if np.isnan(drawn).any():
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(drawn, (0.025, 0.975))
    mean = float(np.mean(drawn))
    return {k: round(float(v), 4) for k, v in (("value", mean), ("low", low), ("high", high))}


def compared(whole: Outcomes, part: Outcomes, seed: int = 0) -> Json:
    """Figures without a part of the method, and how they differ from the whole (whole minus part)."""
    wanted = ("auroc", "accuracy", "precision", "recall", "macro_f1", "cover", "chair")
    first, second = _statistics(whole), _statistics(part)

    def difference(name: str) -> Json:
        return _over(whole, lambda r: first[name](r) - second[name](r), seed)

    return {name: _over(part, second[name], seed) for name in wanted} | {
        "difference": {name: difference(name) for name in wanted},
        "mcnemar": mcnemar(whole.right, part.right),
    }


def _statistics(o: Outcomes) -> dict[str, Callable[[Rows], float]]:
    said = (o.said == "manipulated").astype(np.float64)
    answered = np.isin(o.said, ("manipulated", "authentic")).astype(np.float64)
    confidence = np.abs(o.probability - 0.5)
    wrong_side = ((o.probability >= 0.5) != (o.manipulated > 0)).astype(np.float64)
    right, hits = o.right, said * o.manipulated

    def precision(r: Rows) -> float:
        return ratio(float(hits[r].sum()), float(said[r].sum()))

    def recall(r: Rows) -> float:
        return ratio(float(hits[r].sum()), float(o.manipulated[r].sum()))

    def cover(r: Rows) -> float:
        return ratio(float(o.covered[r].sum()), float(o.planted[r].sum()))

    def chair(r: Rows) -> float:
        # where nothing is planted every claim told is false, whatever a model names
        told = float(o.claims[r].sum()) if o.planted.any() else 0.0
        return ratio(float(o.false_claims[r].sum()), told)

    def hal(r: Rows) -> float:
        return ratio(float((o.false_claims[r] > 0).sum()), float(o.told[r].sum()))

    return {
        "auroc": lambda r: auroc(o.manipulated[r], o.probability[r]),
        "accuracy": lambda r: float(right[r].mean()),
        "precision": precision,
        "recall": recall,
        "f1": lambda r: f_beta(precision(r), recall(r)),
        "macro_f1": lambda r: macro_f1(o.manipulated[r], o.said[r]),
        "coverage": lambda r: float(answered[r].mean()),
        "ece": lambda r: expected_calibration_error(o.manipulated[r], o.probability[r]),
        "brier": lambda r: brier(o.manipulated[r], o.probability[r]),
        "aurc": lambda r: aurc(wrong_side[r], confidence[r]),
        "coverage_at_10_risk": lambda r: coverage_at_risk(wrong_side[r], confidence[r]),
        "cover": cover,
        "chair": chair,
        "hal": hal,
        "f0_5": lambda r: f_beta(1 - chair(r), cover(r), 0.5),
    }


def _over(o: Outcomes, statistic: Callable[[Rows], float], seed: int) -> Json:
    return dict(bootstrap(statistic, o.person, seed).as_json())


def _mean_auroc(o: Outcomes, kinds: Sequence[str], strength: float | None, seed: int) -> Json:
    """AUROC of each kind against all untouched pictures, averaged over the kinds."""
    real = o.manipulated == 0
    at = np.ones(len(real), bool) if strength is None else o.strength == strength
    mine = {k: ~real & at & (o.kind == k) for k in kinds}

    def statistic(r: Rows) -> float:
        natural = o.probability[r][real[r]]
        found = []
        for chosen in mine.values():
            edited = o.probability[r][chosen[r]]
            labels = np.repeat([0.0, 1.0], (len(natural), len(edited)))
            found.append(auroc(labels, np.concatenate([natural, edited])))
        known = [f for f in found if not np.isnan(f)]
        return float(np.mean(known)) if known else float("nan")

    return dict(bootstrap(statistic, o.person, seed, RESAMPLES_NESTED).as_json())


def _twins(o: Outcomes) -> NDArray[np.int64]:
    """Row numbers of untouched and edited twins, n x 2."""
    rows: dict[tuple[str, bool], int] = {
        (str(p), bool(m)): n for n, (p, m) in enumerate(zip(o.pair, o.manipulated, strict=True))
    }
    pairs = sorted({p for p, _ in rows} - {""})
    both = [(rows[p, False], rows[p, True]) for p in pairs if {(p, False), (p, True)} <= set(rows)]
    return np.array(both, np.int64).reshape(-1, 2)


def _above(o: Outcomes, twins: NDArray[np.int64], strength: float | None, seed: int) -> Json:
    """Share of pairs whose edited picture is the likelier manipulated; a tie is none."""
    if strength is not None:
        twins = twins[o.strength[twins[:, 1]] == strength]
    above = o.probability[twins[:, 1]] > o.probability[twins[:, 0]]
    people = [o.person[n] for n in twins[:, 1]]
    if not people:
        return {"value": None, "low": None, "high": None}
    return dict(bootstrap(lambda r: float(above[r].mean()), people, seed).as_json())


def _by_group(o: Outcomes, groups: Mapping[str, Sequence[str]], seed: int) -> Json:
    """For the people of each group: false alarms, misses, what stays open, AUROC, and how many."""
    alarm, real = o.said == "manipulated", o.manipulated == 0
    shares: dict[str, Callable[[Rows], float]] = {
        "false_alarms": lambda r: ratio(float((alarm & real)[r].sum()), float(real[r].sum())),
        "misses": lambda r: ratio(float((~alarm & ~real)[r].sum()), float((~real)[r].sum())),
        "inconclusive": lambda r: float((o.said[r] == "inconclusive").mean()),
        "auroc": lambda r: auroc(o.manipulated[r], o.probability[r]),
    }
    table: Json = {}
    for group in sorted({g for p in set(o.person) for g in groups.get(p, ())}):
        rows = np.array([n for n, p in enumerate(o.person) if group in groups.get(p, ())], np.int64)
        table[group] = _of_rows(o, rows, shares, seed)
    return table


def _of_rows(
    o: Outcomes, rows: Rows, statistics: Mapping[str, Callable[[Rows], float]], seed: int
) -> Json:
    people = [o.person[n] for n in rows]
    found: Json = {
        name: dict(bootstrap(partial(_on, statistic, rows), people, seed).as_json())
        for name, statistic in statistics.items()
    }
    return found | {"people": len(set(people)), "pictures": len(people)}


def _on(statistic: Callable[[Rows], float], rows: Rows, drawn: Rows) -> float:
    return statistic(rows[drawn])
