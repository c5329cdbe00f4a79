"""What a stage carries on is what it read, to the byte."""

from __future__ import annotations

from itertools import pairwise

import pytest

from telltale.events import Event, value_bytes
from telltale.stages.carrying import carried
from tests.contract.samples import events

MADE = events()[1:6]  # admitted, detected, retrieved, judged, issued
SECTIONS = ("detection", "retrieval", "judgment", "verdict")


@pytest.mark.parametrize(("before", "after"), [*pairwise(MADE)], ids=SECTIONS)
def test_an_answer_is_as_if_made_from_scratch_and_every_field_written(
    before: Event, after: Event
) -> None:
    section = next(s for s in SECTIONS if hasattr(after, s) and not hasattr(before, s))
    made = carried(type(after), before, **{section: getattr(after, section)})
    assert made == after
    assert value_bytes(made) == value_bytes(after)
