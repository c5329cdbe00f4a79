"""explain: what there is to draw, and what not."""

from __future__ import annotations

from telltale.events import PROMOTED, Envelope, VerdictIssued
from telltale.stages.contract import Answered, Item
from telltale.stages.explain import Explain
from tests.contract.samples import AT, VERDICT, events

ISSUED, REJECTED = (e for e in events() if isinstance(e, VerdictIssued))


class Reader:
    """Counts how often a picture is asked for."""

    asked = 0

    def pixels(self, sha256: str) -> str:
        self.asked += 1
        return sha256


def test_a_promoted_verdict_and_a_rejection_are_answered_without_a_drawing() -> None:
    reader = Reader()
    stage = Explain(None, None, {}, reader, None, None)
    for event, source in ((ISSUED, PROMOTED), (REJECTED, "/telltale")):
        envelope = Envelope(
            id=VERDICT, type=event.type_name, subject=event.image_id, time=AT, source=source
        )
        prepared = stage.prepare(Item(event, envelope))
        assert stage.process([Item(event, envelope, prepared)]) == [Answered()]
    assert reader.asked == 0
