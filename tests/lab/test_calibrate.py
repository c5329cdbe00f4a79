"""Calibration: each cue is checked by what passes the audit, or by nothing."""

from __future__ import annotations

import numpy as np
import pytest

from telltale.cues import load_cues
from telltale.lab.calibrate import ENOUGH, audited

CUES = {c.cue_id: c for c in load_cues()}
MEASURED = next(c for c in CUES.values() if c.measurement)
SEEN = next(c for c in CUES.values() if c.verifier == "clip")
ASKED = next(c for c in CUES.values() if c.verifier == "ask")


def rows(away: float, planted: int = 40) -> list[tuple[float, int, str]]:
    """Values of eight people: untouched around 0, planted ones ``away`` of it, sd 1."""
    rng = np.random.default_rng(0)
    real = [(float(rng.normal()), 0, f"p{n % 8}") for n in range(80)]
    return real + [(float(rng.normal(away)), 1, f"p{n % 8}") for n in range(planted)]


def test_a_measured_cue_that_similarity_tells_and_the_measurement_does_not_goes_to_similarity() -> (
    None
):
    norm = audited(
        MEASURED, {(MEASURED.cue_id, "measure"): rows(0), (MEASURED.cue_id, "clip"): rows(2)}
    )
    assert norm is not None
    assert (norm.by, norm.verifiable) == ("clip", True)


def test_the_better_of_two_that_pass_is_chosen() -> None:
    both = {(MEASURED.cue_id, "measure"): rows(3), (MEASURED.cue_id, "clip"): rows(1)}
    norm = audited(MEASURED, both)
    assert norm is not None
    assert norm.by == "measure"


@pytest.mark.parametrize("cue", [MEASURED, SEEN, ASKED], ids=lambda c: c.verifier)
def test_what_fails_stays_with_what_the_corpus_suggests_and_is_not_trusted(cue) -> None:
    norm = audited(cue, {(cue.cue_id, by): rows(0) for by in ("clip", "measure")})
    assert norm is not None
    assert not norm.verifiable
    assert norm.fit is None
    assert norm.by == ("measure" if cue is MEASURED else "clip")


def test_a_cue_that_no_edit_plants_is_not_trusted() -> None:
    norm = audited(SEEN, {(SEEN.cue_id, "clip"): rows(5, planted=2)})
    assert norm is not None
    assert (norm.verifiable, norm.auroc) == (False, None)


def test_only_what_was_planted_often_enough_has_a_fit_of_its_own() -> None:
    few, many = (
        audited(SEEN, {(SEEN.cue_id, "clip"): rows(3, planted=n)}) for n in (ENOUGH - 1, ENOUGH)
    )
    assert few is not None
    assert many is not None
    assert (few.verifiable, few.fit) == (True, None)
    assert many.fit is not None
    assert many.fit.slope > 0


def test_a_region_type_that_is_never_seen_has_no_norm() -> None:
    assert audited(SEEN, {}) is None
