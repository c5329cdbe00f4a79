"""record: keep verdicts and explanations for people to query.

In: ``VerdictIssued`` and ``ExplanationReady``, in any order, any number of times. Out: rows, once an
event id. A verdict can be read before its explanation is drawn. The latest live verdict on an image
is the one that holds; what is read from a replay's own topics is kept beside it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol
from uuid import UUID

from telltale import topics
from telltale.events import Event, ExplanationReady, VerdictIssued
from telltale.stages.contract import Answered, Batch, Item, Need, Outcome, Stage


class Verdicts(Protocol):
    """What record asks of the verdict store."""

    def put(
        self,
        verdicts: Sequence[tuple[UUID, VerdictIssued]],
        explanations: Sequence[tuple[UUID, ExplanationReady]],
        shadow: Container[UUID] = ...,
    ) -> None: ...


class Record(Stage):
    """Writes a batch in one transaction."""

    name = "record"
    version = "1"
    reads: tuple[type[Event], ...] = (VerdictIssued, ExplanationReady)
    needs: tuple[Need, ...] = ("postgres",)
    batch = Batch(64, 0.02)  # rows are cheap together and dear one by one

    def __init__(self, verdicts: Verdicts, topic_prefix: str = "") -> None:
        self._verdicts, self._prefix = verdicts, topic_prefix

    def open(self) -> None:
        """Nothing: the pool connects when first used."""

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """All of the batch, or none of it."""
        verdicts = [(i.envelope.id, i.event) for i in items if isinstance(i.event, VerdictIssued)]
        self._verdicts.put(
            verdicts,
            [(i.envelope.id, i.event) for i in items if isinstance(i.event, ExplanationReady)],
            {i for i, event in verdicts if topics.in_shadow(self._prefix, event.replay_id)},
        )
        return [Answered() for _ in items]

    def close(self) -> None:
        """Nothing of its own to release."""
