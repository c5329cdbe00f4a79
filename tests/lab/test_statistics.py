"""The figures agree with an independent implementation, and their intervals with what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from telltale.lab.statistics import (
    Figure,
    aurc,
    auroc,
    bootstrap,
    brier,
    coverage_at_risk,
    expected_calibration_error,
    f_beta,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 300).astype(float)
SCORES = np.round(np.clip(RNG.normal(0.4 + 0.2 * LABELS, 0.2), 0, 1), 2)


def test_auroc_is_that_of_scikit_learn_ties_included() -> None:
    assert auroc(LABELS, SCORES) == pytest.approx(roc_auc_score(LABELS, SCORES))
    assert math.isnan(auroc(np.ones(3), np.ones(3)))


def test_brier_is_that_of_scikit_learn() -> None:
    assert brier(LABELS, SCORES) == pytest.approx(brier_score_loss(LABELS, SCORES))


def test_calibration_error_is_nought_for_the_calibrated() -> None:
    probabilities = np.repeat([0.25, 0.75], 400)
    labels = np.concatenate([np.tile([1, 0, 0, 0], 100), np.tile([1, 1, 1, 0], 100)]).astype(float)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0)
    assert expected_calibration_error(1 - labels, probabilities) == pytest.approx(0.5)


def test_an_order_that_puts_errors_last_has_the_least_risk() -> None:
    wrong = np.array([0.0, 0, 0, 1])
    assert aurc(wrong, np.array([4.0, 3, 2, 1])) < aurc(wrong, np.array([1.0, 2, 3, 4]))
    assert coverage_at_risk(wrong, np.array([4.0, 3, 2, 1])) == 0.75
    assert coverage_at_risk(wrong, np.array([1.0, 2, 3, 4])) == 0.0


def test_f_half_weighs_precision() -> None:
    assert f_beta(0.9, 0.3, 0.5) > f_beta(0.3, 0.9, 0.5)
    assert f_beta(0.5, 0.5) == pytest.approx(0.5)


def test_the_interval_is_over_people_and_repeats() -> None:
    people = [f"p{n // 10}" for n in range(300)]
    once = bootstrap(lambda r: auroc(LABELS[r], SCORES[r]), people, 1, 200)
    assert once == bootstrap(lambda r: auroc(LABELS[r], SCORES[r]), people, 1, 200)
    assert once.low < once.value < once.high
    one_person = bootstrap(lambda r: auroc(LABELS[r], SCORES[r]), ["p"] * 300, 1, 200)
    assert math.isnan(one_person.low)


def test_what_cannot_be_computed_is_null_in_json() -> None:
    assert Figure(math.nan, math.nan, 0.5).as_json() == {"value": None, "low": None, "high": 0.5}
