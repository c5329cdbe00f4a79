"""What a stage is: from a batch of events to one outcome per event.

In: ``Item``s (event, envelope, whatever ``prepare`` made of them). Out: one ``Outcome`` an item, in
order. ``process`` raises ``DependencyAway`` when a server does not answer (the partition waits);
anything else it raises is taken as a failure of the batch, whose events are then tried one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from telltale.events import Envelope, Event
from telltale.tally import Spared

E = TypeVar("E", bound=Event)

Need = Literal["image store", "picture decoder", "postgres", Spared]
"""What stages ask besides Kafka, which all of them read. The name in ``DependencyAway`` is one of these."""


@dataclass(frozen=True)
class Item(Generic[E]):
    """One event with its CloudEvents attributes and what ``prepare`` returned for it."""

    event: E
    envelope: Envelope
    prepared: object = None


@dataclass(frozen=True)
class Answered:
    """The event is finished; ``events`` go out on the topics of their types (record sends none)."""

    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Failed:
    """This event could not be finished; it is tried again, then dead with this error."""

    error: Exception


Outcome = Answered | Failed


@dataclass(frozen=True)
class Batch:
    """At most ``max_events`` events, or what has come within ``max_wait_s`` of the first."""

    max_events: int = 1
    max_wait_s: float = 0.02


class Stage(Protocol):
    """A stage. ``name`` is a verb; ``version`` changes whenever its answers would."""

    name: str
    version: str
    reads: tuple[type[Event], ...]
    batch: Batch
    needs: tuple[Need, ...] = ()
    """What it asks; shown as answering from the start."""

    def open(self) -> None:
        """Load weights and connect; called once, in the thread that will call ``process``."""

    def prepare(self, item: Item[Event]) -> object:
        """CPU work for one event (read and decode a picture), overlapped with ``process``. A stage
        that leaves this as it is saves every event the way through another thread."""
        return None

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """One outcome an item, in order. Always called from one and the same thread."""

    def close(self) -> None:
        """Release what ``open`` took."""
