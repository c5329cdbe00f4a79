"""judge: every picture is answered, and what came of asking is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args
from uuid import uuid4

import numpy as np
import pytest

from telltale import tally
from telltale.cues import load_cues
from telltale.events import CuesRetrieved, Envelope, JudgmentMade, JudgmentStatus
from telltale.events import Judgment as Answer
from telltale.models import Question
from telltale.stages.contract import Answered, Batch, Item
from telltale.stages.judge import JudgeStage
from tests.contract.samples import AT, events

RETRIEVED = next(e for e in events() if isinstance(e, CuesRetrieved))
NOTHING = RETRIEVED.model_copy(
    update={"retrieval": RETRIEVED.retrieval.model_copy(update={"candidates": ()})}
)


class Scripted:
    """Answers with the statuses it was given, in order."""

    revision, crop_px, needs = "scripted", 32, ()

    def __init__(self, *statuses: str) -> None:
        self._statuses = list(statuses)

    def judge(self, questions: Sequence[Question]) -> list[Answer]:
        return [Answer(status=self._statuses.pop(0), judge=self.revision) for _ in questions]


class Grey:
    """Every picture is grey."""

    def pixels(self, sha256: str) -> np.ndarray:
        size = RETRIEVED.image.height_px, RETRIEVED.image.width_px, 3
        return np.full(size, 128, np.uint8)


def counted() -> dict[str, float]:
    return {
        labels[0]: total
        for (name, labels), total in tally.read().items()
        if name == "telltale_judgments_total" and labels[0] in get_args(JudgmentStatus)
    }


def judged(stage: JudgeStage, *asked: CuesRetrieved) -> list[str]:
    items = []
    for event in asked:
        item = Item(event, Envelope(id=uuid4(), type="t", subject=event.image_id, time=AT))
        items.append(Item(event, item.envelope, stage.prepare(item)))
    found = []
    for outcome in stage.process(items):
        assert isinstance(outcome, Answered)
        (made,) = outcome.events
        assert isinstance(made, JudgmentMade)
        found.append(made.judgment.status)
    return found


@pytest.fixture
def cues():
    return {c.cue_id: c for c in load_cues(None)}


def test_what_came_of_asking_is_counted_by_status(cues) -> None:
    stage = JudgeStage(Scripted("ok", "unavailable", "late"), cues, Grey(), Batch(8))
    stage.open()
    before = counted()
    assert set(before) >= set(get_args(JudgmentStatus)), "a rate is taken from nought"
    found = judged(stage, RETRIEVED, NOTHING, RETRIEVED, RETRIEVED)
    assert found == ["ok", "not_asked", "unavailable", "late"]
    assert {s: n - before[s] for s, n in counted().items()} == {
        "ok": 1, "not_asked": 1, "unavailable": 1, "late": 1, "unreadable": 0,
    }  # fmt: skip
