"""The account sees what it is there to see: each fault that delivery could have, planted on its own."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from telltale.lab.ledger import Hop, Ledger

ROUTE = (Hop("intake", "1", "a.v1"), Hop("detect", "2", "b.v1"))


@pytest.fixture
def ledger() -> Ledger:
    """Ten uploads in two partitions, one a second."""
    made = Ledger("run", 10, ROUTE)
    for number in range(10):
        made.sent_s[number] = 100.0 + number
        made.confirm(number, number % 2)
    return made


def answer(ledger: Ledger, number: int, value: bytes = b"same", at_s: float = 0.0) -> None:
    ledger.hear(ledger.image_id(number), str(ledger.answer_id(number)), value, at_s, at_s)


def test_an_honest_stream_has_a_clean_account(ledger) -> None:
    for number in range(10):
        answer(ledger, number)
    audit = ledger.audit()
    assert audit.clean
    assert (audit.sent, audit.answered, audit.duplicate_emissions) == (10, 10, 0)


def test_what_was_never_answered_is_lost(ledger) -> None:
    for number in range(9):
        answer(ledger, number)
    assert ledger.audit().lost == 1
    assert not ledger.audit().clean


def test_what_the_broker_never_confirmed_is_not_lost() -> None:
    assert Ledger("run", 10, ROUTE).audit().lost == 0


def test_a_repeat_under_the_same_id_has_no_effect(ledger) -> None:
    for number in (*range(10), 3, 3, 4):
        answer(ledger, number)
    audit = ledger.audit()
    assert audit.clean
    assert (audit.duplicate_emissions, audit.altered_repeats) == (3, 0)


def test_a_repeat_with_other_bytes_is_seen(ledger) -> None:
    for number in range(10):
        answer(ledger, number)
    answer(ledger, 3, b"other")
    assert ledger.audit().altered_repeats == 1
    assert not ledger.audit().clean


def test_dead_letters_are_no_fault_but_altered_ones_are(ledger) -> None:
    for number in range(10):
        answer(ledger, number)
    assert ledger.audit(dead=2).clean
    audit = ledger.audit(dead=2, altered_dead=1)
    assert (audit.public()["dead"], audit.public()["altered_dead"]) == (2, 1)
    assert not audit.clean


def test_a_second_answer_under_another_id_is_an_effect_had_twice(ledger) -> None:
    for number in range(10):
        answer(ledger, number)
    for _ in range(2):
        ledger.hear(ledger.image_id(3), str(ledger.upload_id(3)), b"", 0.0, 0.0)
    audit = ledger.audit()
    assert (audit.duplicate_effects, audit.foreign_ids) == (1, 2)
    assert not audit.clean


@pytest.mark.parametrize("subject", ["run-10", "run--1", "other-3", "run", ""])
def test_an_answer_to_no_upload_of_ours_is_foreign(ledger, subject) -> None:
    ledger.hear(subject, str(ledger.answer_id(3)), b"", 0.0, 0.0)
    assert (ledger.audit().foreign_ids, ledger.audit().answered) == (1, 0)


def test_recovery_is_when_the_last_partition_answers_something_sent_after_the_fault(ledger) -> None:
    answer(ledger, 3, at_s=104.0)  # sent before the fault: says nothing of recovery
    answer(ledger, 5, at_s=107.0)
    answer(ledger, 6, at_s=112.0)
    answer(ledger, 8, at_s=113.0)
    assert ledger.recovery_s(104.5, 0, 10) == pytest.approx(7.5)


def test_a_partition_that_never_answers_has_not_recovered(ledger) -> None:
    answer(ledger, 5, at_s=107.0)
    assert ledger.recovery_s(104.5, 0, 10) == inf
    assert ledger.recovery_s(200.0, 0, 10) is None


def test_the_account_of_a_hundred_thousand_uploads_is_small() -> None:
    ledger = Ledger("run", 100_000, ROUTE)
    held = [v.nbytes for v in vars(ledger).values() if isinstance(v, np.ndarray)]
    assert sum(held) < 5_000_000
