"""Workers of all seven stages, with their models, are killed and told to end while pictures flow.

How soon answers come again is measured by ``telltale lab chaos --stages real``; here it is only that all
come, once, and are kept, once.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from telltale.lab.chaos import Chaos, Outcome, Plan
from telltale.lab.chaos_ground import ground
from telltale.lab.chaos_rows import count_rows
from telltale.settings import load_settings

UPLOADS = 16

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    """Two workers on servers of their own; one is killed, one told to end."""
    # not below pytest's own folders, which another run closes to the user that PostgreSQL runs as
    folder = Path(tempfile.mkdtemp(prefix="telltale-test-"))
    # patience is for a machine that is busy with other tests
    plan = Plan(UPLOADS, ("SIGKILL", "SIGTERM"), workers=2, rate=2.0, patience_s=600.0)
    try:
        with (
            pytest.MonkeyPatch.context() as given,
            ground(load_settings(), folder, "real", 2, print) as place,
        ):
            given.setenv("TELLTALE_THREADS", "1")
            yield Chaos(place, plan).run(lambda: count_rows(place.settings, place.run, UPLOADS))
    finally:
        shutil.rmtree(folder)


def test_every_picture_is_answered(outcome) -> None:
    assert outcome.audit.sent == outcome.audit.answered == UPLOADS
    assert outcome.audit.lost == outcome.audit.dead == 0


def test_no_picture_is_answered_twice_under_different_ids(outcome) -> None:
    assert outcome.audit.duplicate_effects == outcome.audit.foreign_ids == 0


def test_every_verdict_and_explanation_is_kept_once(outcome) -> None:
    assert outcome.rows == {
        "verdicts": UPLOADS, "verdicts_too_many": 0, "verdicts_missing": 0,
        "explanations": UPLOADS, "explanations_too_many": 0, "explanations_missing": 0,
    }  # fmt: skip


def test_the_workers_that_were_hurt_are_those_that_ended(outcome) -> None:
    assert [f.kind for f in outcome.faults] == ["SIGKILL", "SIGTERM"]
    assert outcome.unasked == []
