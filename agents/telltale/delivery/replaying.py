"""Replay: past events once more, as new events beside the live ones.

In: a topic, what of it, and a replay id. Out: the events on a shadow topic (or, if asked for, on the
live one), each with the replay id in its value and an event id derived from its original's, so that
what follows from it is told apart from the live verdicts. The same selection under the same replay
id gives the same bytes. A header names each event's source, by which an interrupted replay knows
where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from confluent_kafka import KafkaException, Producer

from telltale.delivery import kafka
from telltale.delivery.scanning import Read, Scan, Stretch
from telltale.delivery.taken import Message
from telltale.errors import DependencyAway, EventUnreadable, UsageError
from telltale.events import Envelope, Event, derived_id, read_headers, read_value, value_bytes
from telltale.settings import Settings
from telltale.topics import TOPICS

SOURCE_HEADER = "telltale.replay.source"
STAGE = "replay"  # in the derivation of ids, where a stage's name stands otherwise
VERSION = "1"
FLUSH_S = 60.0


@dataclass(frozen=True)
class Selection:
    """Which events: a stretch of a topic, and image ids (all, if none are named)."""

    topic: str
    stretch: Stretch
    images: frozenset[str] = frozenset()

    @property
    def replay_id(self) -> str:
        """A name that follows from the selection: the same again gives the same."""
        parts = (
            self.topic,
            self.stretch.since,
            self.stretch.until,
            sorted((self.stretch.first or {}).items()),
            sorted((self.stretch.last or {}).items()),
            sorted(self.images),
        )
        return "r" + sha256(repr(parts).encode()).hexdigest()[:10]


@dataclass
class Counts:
    """How a replay went, or would go."""

    events: int = 0
    bytes: int = 0
    unreadable: int = 0
    already: int = 0  # replayed before an interruption


@dataclass(frozen=True)
class Target:
    """Where to: ``prefix`` before the topic's name is a shadow's, or the live one."""

    replay_id: str
    prefix: str
    rate: float | None = None


def shadow_prefix(settings: Settings, replay_id: str) -> str:
    """The prefix of a replay's topics and groups, below the live ones."""
    return f"{settings.topic_prefix}{replay_id}."


def replayed(read: Read, replay_id: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of an event replayed. Raises ``EventUnreadable``."""
    event = read_value(read.topic, read.value)
    envelope = read_headers(dict(read.headers), read.value or b"", event)
    again: Event = event.model_copy(update={"replay_id": replay_id})
    child = Envelope(
        id=derived_id(envelope.id, STAGE, VERSION, replay_id, event.type_name),
        type=event.type_name,
        subject=event.image_id,
        time=envelope.time,  # not now: the same replay gives the same bytes
        traceparent=envelope.traceparent,
        tracestate=envelope.tracestate,
    )
    return value_bytes(again), [*child.headers(), (SOURCE_HEADER, read.place.encode())]


class Replay:
    """One replay. ``scan.total`` bounds how many messages are looked at."""

    def __init__(self, settings: Settings, selection: Selection) -> None:
        if selection.topic not in {t.name for t in TOPICS}:
            raise UsageError(f"no topic {selection.topic!r}; see 'telltale topics list'")
        self._settings, self._selection = settings, selection
        self.scan = Scan(settings, selection.topic, selection.stretch)

    def count(self, progress: Callable[[], object] = lambda: None) -> Counts:
        """Look at everything, send nothing."""
        return self._run(None, set(), lambda *_: None, progress)

    def send(self, target: Target, progress: Callable[[], object] = lambda: None) -> Counts:
        """Send everything that is not there yet. Returns once the broker has confirmed it all."""
        options = kafka.confluent_options(self._settings)
        producer = Producer({**options, "enable.idempotence": True, "linger.ms": 20})
        topic = target.prefix + self._selection.topic
        failed: list[str] = []

        def deliver(read: Read, value: bytes, headers: list[tuple[str, bytes]]) -> None:
            _produce(producer, topic, read.key, value, headers, failed)

        counts = self._run(target, self._there(target), deliver, progress)
        if producer.flush(FLUSH_S) or failed:
            problem = failed[0] if failed else "does not confirm"
            raise DependencyAway("Kafka", f"{problem}; the same command again goes on from here")
        return counts

    def _there(self, target: Target) -> set[str]:
        """Sources of what an earlier, interrupted run has sent."""
        shadow = self._settings.model_copy(update={"topic_prefix": target.prefix})
        scan = Scan(shadow, self._selection.topic, Stretch())
        try:
            return {
                read.header(SOURCE_HEADER)
                for read in scan
                if f'"replay_id":"{target.replay_id}"'.encode() in (read.value or b"")
            }
        finally:
            scan.close()

    def _run(
        self,
        target: Target | None,
        there: set[str],
        deliver: Callable[[Read, bytes, list[tuple[str, bytes]]], None],
        progress: Callable[[], object],
    ) -> Counts:
        counts = Counts()
        replay_id = target.replay_id if target else self._selection.replay_id
        rate = target.rate if target else None
        began = time.monotonic()
        for read in self.scan:
            progress()
            if not self._wanted(read):
                continue
            if read.place in there:
                counts.already += 1
                continue
            try:
                value, headers = replayed(read, replay_id)
            except EventUnreadable:
                counts.unreadable += 1
                continue
            deliver(read, value, headers)
            counts.events += 1
            counts.bytes += len(value)
            if rate:
                time.sleep(max(0.0, began + counts.events / rate - time.monotonic()))
        return counts

    def _wanted(self, read: Read) -> bool:
        if read.header(SOURCE_HEADER):
            return False  # itself a replay's event, on a live topic
        images = self._selection.images
        return not images or (read.key or b"").decode(errors="replace") in images


def _produce(
    producer: Producer,
    topic: str,
    key: bytes | None,
    value: bytes,
    headers: list[tuple[str, bytes]],
    failed: list[str],
) -> None:
    def note(error: object, _: Message) -> None:
        if error:
            failed.append(str(error))

    while True:
        try:
            producer.produce(topic, value, key, headers=headers, on_delivery=note)
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.5)  # the client's own buffer is full: wait for confirmations
        except KafkaException as error:
            raise DependencyAway("Kafka", str(error.args[0])) from error
