"""A replay's events, read where they lie: on its own shadow topics, or on the live ones.

In: ``Settings`` with the prefix of the topics, and a replay id. Out: messages and events. Raises
``UsageError`` for a replay that was never sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from telltale.delivery.scanning import Read, Scan, Stretch, TopicMissing
from telltale.errors import EventUnreadable, UsageError
from telltale.events import Event, read_value
from telltale.settings import Settings


def asked_again(settings: Settings, topic: str, replay_id: str, prefix: str) -> set[str]:
    """The images that a replay of ``topic`` has sent. Raises ``UsageError`` if there are none."""
    shadow = settings.model_copy(update={"topic_prefix": prefix})
    try:
        found = {event.image_id for _, event in events_of(shadow, topic, replay_id)}
    except TopicMissing:
        found = set()
    if not found:
        raise UsageError(
            f"no replay {replay_id} of {topic} has been sent; send it first, with --yes and the"
            " same selection or --replay-id"
        )
    return found


def events_of(settings: Settings, topic: str, replay_id: str) -> Iterator[tuple[Read, Event]]:
    """The events of a replay on a topic, and the messages that they came in."""
    mark = f'"{replay_id}"'.encode()
    for read in reads_of(settings, topic):
        if mark not in (read.value or b""):
            continue  # its bytes alone say that it is another's: it need not be parsed
        event = parsed(read)
        if event is not None and getattr(event, "replay_id", None) == replay_id:
            yield read, event


def reads_of(settings: Settings, topic: str, stretch: Stretch | None = None) -> Iterator[Read]:
    """All messages of a stretch of a topic."""
    scan = Scan(settings, topic, stretch or Stretch())
    try:
        yield from scan
    finally:
        scan.close()


def parsed(read: Read) -> Event | None:
    """The event in a message; None for bytes that are none."""
    try:
        return read_value(read.topic, read.value)
    except EventUnreadable:
        return None
