"""Replay: past events once more, as new events beside the live ones.

In: a topic, what of it, and a replay id. Out: the events on a shadow topic (or, if asked for, on the
live one), each with the replay id in its value and an event id derived from its original's, so that
what follows from it is told apart from the live verdicts. The same selection under the same replay
id gives the same bytes. A header names each event's source, by which an interrupted replay knows
where it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from telltale.delivery.emitting import Emitter, Pace
from telltale.delivery.scanning import Read, Scan, Stretch, TopicMissing
from telltale.delivery.shadow import events_of
from telltale.errors import EventUnreadable, UsageError
from telltale.events import Envelope, Event, derived_id, read_headers, read_value, value_bytes
from telltale.settings import Settings
from telltale.topics import TOPICS

SOURCE_HEADER = "telltale.replay.source"
STAGE = "replay"  # in the derivation of ids, where a stage's name stands otherwise
VERSION = "1"
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


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
    first_ms: int | None = None  # when the first and the last of the events arrived once
    last_ms: int | None = None

    def add(self, read: Read, size: int) -> None:
        """Count one event of so many bytes."""
        self.events += 1
        self.bytes += size
        self.first_ms = min(read.at_ms, self.first_ms or read.at_ms)
        self.last_ms = max(read.at_ms, self.last_ms or read.at_ms)

    def expected_s(self, rate: float | None) -> float | None:
        """How long it takes at ``rate`` a second; without one, at the rate the events once came.

        None where that says nothing: too few events, or all at once.
        """
        if rate:
            return self.events / rate
        if self.first_ms is None or self.last_ms is None or self.last_ms - self.first_ms < 1000:
            return None
        return (self.last_ms - self.first_ms) / 1000


@dataclass(frozen=True)
class Target:
    """Where to: ``prefix`` before the topic's name is a shadow's, or the live one."""

    replay_id: str
    prefix: str
    rate: float | None = None

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.replay_id):
            raise UsageError(
                f"--replay-id {self.replay_id!r}: it names topics; at most 60 of A-Z a-z 0-9 . _ -"
            )


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

    def count(self, target: Target, progress: Callable[[], object] = lambda: None) -> Counts:
        """Look at everything, send nothing."""
        return self._run(target, lambda *_: None, progress)

    def send(self, target: Target, progress: Callable[[], object] = lambda: None) -> Counts:
        """Send everything that is not there yet. Returns once the broker has confirmed it all."""
        emitter, pace = Emitter(self._settings), Pace(target.rate)
        topic = target.prefix + self._selection.topic

        def deliver(read: Read, value: bytes, headers: list[tuple[str, bytes]]) -> None:
            emitter.send(topic, read.key, value, headers)
            pace.wait()

        counts = self._run(target, deliver, progress)
        emitter.confirm()
        return counts

    def _there(self, target: Target) -> set[str]:
        """Sources of what an earlier, interrupted run has sent."""
        shadow = self._settings.model_copy(update={"topic_prefix": target.prefix})
        try:
            sent = events_of(shadow, self._selection.topic, target.replay_id)
            return {read.header(SOURCE_HEADER) for read, _ in sent}
        except TopicMissing:
            return set()  # a shadow that was never made

    def _run(
        self,
        target: Target,
        deliver: Callable[[Read, bytes, list[tuple[str, bytes]]], None],
        progress: Callable[[], object],
    ) -> Counts:
        counts, there = Counts(), self._there(target)
        for read in self.scan:
            progress()
            if not self._wanted(read):
                continue
            if read.place in there:
                counts.already += 1
                continue
            try:
                value, headers = replayed(read, target.replay_id)
            except EventUnreadable:
                counts.unreadable += 1
                continue
            deliver(read, value, headers)
            counts.add(read, len(value))
        return counts

    def _wanted(self, read: Read) -> bool:
        if read.header(SOURCE_HEADER):
            return False  # itself a replay's event, on a live topic
        images = self._selection.images
        return not images or (read.key or b"").decode(errors="replace") in images
