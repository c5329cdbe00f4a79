"""record: keep verdicts and explanations for people to query.

In: ``VerdictIssued`` and ``ExplanationReady``, in any order, any number of times. Out: rows, once an
event id. A verdict can be read before its explanation is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from telltale.events import Event, ExplanationReady, VerdictIssued
from telltale.stages.contract import Answered, Batch, Item, Outcome


class Verdicts(Protocol):
    """What record asks of the verdict store."""

    def put(
        self,
        verdicts: Sequence[tuple[UUID, VerdictIssued]],
        explanations: Sequence[tuple[UUID, ExplanationReady]],
    ) -> None: ...


class Record:
    """Writes a batch in one transaction."""

    name = "record"
    version = "1"
    reads: tuple[type[Event], ...] = (VerdictIssued, ExplanationReady)
    batch = Batch(64, 0.02)  # rows are cheap together and dear one by one

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts

    def open(self) -> None:
        """Nothing: the pool connects when first used."""

    def prepare(self, item: Item[Event]) -> object:
        """Nothing to compute."""
        return None

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """All of the batch, or none of it."""
        self._verdicts.put(
            [(i.envelope.id, i.event) for i in items if isinstance(i.event, VerdictIssued)],
            [(i.envelope.id, i.event) for i in items if isinstance(i.event, ExplanationReady)],
        )
        return [Answered() for _ in items]

    def close(self) -> None:
        """Nothing of its own to release."""
