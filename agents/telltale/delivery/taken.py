"""An event on its way through a stage, and the ways it can end.

In: a message as Faust hands it over. Out: ``Taken``, decoded or with the reason why not; and
``Resolved``, what is to be sent before the message may be acknowledged.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from telltale.errors import EventUnreadable
from telltale.events import Event, read_headers, read_value
from telltale.stages.contract import Item

if TYPE_CHECKING:
    from opentelemetry.trace import Span


_KEY_BYTES = 200  # an image id is no longer; a key may be anything


class Message(Protocol):
    """The parts of ``faust.types.tuples.Message`` that delivery reads."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any
    generation_id: int
    acked: bool


@dataclass(slots=True)
class Taken:
    """One message in hand. Exactly one of ``item`` and ``unreadable`` is set."""

    message: Message
    at: float  # time.monotonic() of its arrival
    item: Item[Event] | None = None
    unreadable: EventUnreadable | None = None
    preparing: asyncio.Future[object] | None = None

    @property
    def image_id(self) -> str | None:
        """The event's, or what stands in the message's key where the event cannot be read."""
        if self.item is not None:
            return self.item.event.image_id
        key = self.message.key
        return None if key is None else key[:_KEY_BYTES].decode(errors="replace")

    @property
    def trace(self) -> dict[str, str]:
        """The W3C trace context it came with, by header, also where the event cannot be read."""
        if self.item is not None:
            given = self.item.envelope
            pairs = {"traceparent": given.traceparent, "tracestate": given.tracestate}
            return {name: text for name, text in pairs.items() if text}
        return {
            name: value.decode(errors="replace")
            for name, value in header_pairs(self.message)
            if name in ("traceparent", "tracestate") and value
        }

    @property
    def partition(self) -> tuple[str, int]:
        """Topic and partition, on the cluster."""
        return self.message.topic, self.message.partition


@dataclass(slots=True)
class Dead:
    """The event cannot be finished: it goes to the dead letters with this error."""

    error: Exception
    attempts: int
    first_failed: float  # time.time()


@dataclass(slots=True)
class Outgoing:
    """A message to send: topic on the cluster, key, value, headers."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(slots=True)
class Resolved:
    """What became of an event: ``outgoing`` is to be confirmed, then the message acknowledged.
    ``outcome`` None means that it was given back unfinished."""

    taken: Taken
    outcome: str | None = None
    outgoing: list[Outgoing] = field(default_factory=list)
    error: Exception | None = None
    span: Span | None = None  # ended with the event; None where no traces are made


def header_pairs(message: Message) -> list[tuple[str, bytes]]:
    """The headers as they came: in order, with repeats."""
    given = message.headers or ()
    return list(given.items()) if isinstance(given, dict) else list(given)


def read(message: Message, name: str, at: float) -> Taken:
    """Decode a message of the topic ``name`` (without prefix); what is wrong is kept, not raised."""
    try:
        event = read_value(name, message.value)
        headers = {key: value for key, value in header_pairs(message) if value is not None}
        envelope = read_headers(headers, message.value or b"", event)
    except EventUnreadable as error:
        return Taken(message, at, unreadable=error)
    return Taken(message, at, item=Item(event, envelope))
