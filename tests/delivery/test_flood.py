"""A flood is told by the last events; how many, and which share of them, are settings."""

from __future__ import annotations

import pytest

from telltale.delivery.flood import Flood
from telltale.delivery.metrics import Metrics
from telltale.delivery.state import State


@pytest.fixture
def state() -> State:
    return State("toy", Metrics())


def after(flood: Flood, *died: bool) -> float:
    for one in died:
        flood.finished(one)
    return flood.pause_s()


@pytest.mark.parametrize(("last", "share", "dead"), [(100, 0.5, 51), (10, 0.5, 6), (100, 0.2, 21)])
def test_more_than_the_share_of_the_last_events_is_a_flood(state, last, share, dead) -> None:
    lived = [False] * (last - dead)
    assert after(Flood(state, last, share), *lived, *[True] * (dead - 1), False) == 0
    assert state.paused_for is None
    assert after(Flood(state, last, share), *lived, *[True] * dead) > 0
    assert f"{dead} of the last {last} events are dead" == state.paused_for


def test_a_few_deaths_at_the_start_are_no_flood(state) -> None:
    flood = Flood(state, 100, 0.5)
    assert after(flood, *[True] * 19) == 0
    assert after(flood, True) > 0


def test_the_next_pause_is_longer_until_one_lives(state) -> None:
    flood = Flood(state, 10, 0.5)
    pauses = [after(flood, *[True] * 10) for _ in range(3)]
    assert pauses == sorted(set(pauses))
    assert after(flood, False) == 0
    assert state.paused_for is None
    assert after(flood, *[True] * 10) == pauses[0]
