"""Reading a stretch of a topic once, from one place to another, without a group.

In: a topic and where to begin and end (times, offsets). Out: its messages, partition by partition in
order. The end is fixed at the start, so that a topic that grows is still finished. Raises
``TopicMissing`` for a topic that is not there, ``UsageError`` for a partition that it does not have,
``DependencyAway`` when no broker answers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from telltale.delivery import kafka
from telltale.delivery.refusals import answering
from telltale.errors import DependencyAway, UsageError
from telltale.settings import Settings

TIMEOUT_S = 15.0
AT_ONCE = 500
_MOVING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


class TopicMissing(UsageError):
    """The topic to be read is not there."""


@dataclass(frozen=True)
class Read:
    """A message as it lies in its topic; ``topic`` is without prefix, ``at_ms`` the broker's time."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @property
    def place(self) -> str:
        """``topic:partition:offset``."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    def after(self, other: Read) -> bool:
        """Whether it came later: by offset where that says it, else by the broker's time."""
        if self.partition == other.partition:
            return self.offset > other.offset
        return self.at_ms > other.at_ms

    def header(self, name: str) -> str:
        """The text of a header; empty if there is none."""
        for key, value in self.headers:
            if key == name and value is not None:
                return value.decode(errors="replace")
        return ""


@dataclass(frozen=True)
class Stretch:
    """What to read: events that arrived in [since, until), offsets in [first, last] by partition.

    Once an offset is given for any partition, those without one are left out.
    """

    since: datetime | None = None
    until: datetime | None = None
    first: Mapping[int, int] | None = None
    last: Mapping[int, int] | None = None

    def partitions(self, topic: str, there: Collection[int]) -> list[int]:
        """The partitions of a topic that it is about. Raises ``UsageError`` for one not ``there``."""
        named = {*(self.first or {}), *(self.last or {})}
        if missing := named - set(there):
            raise UsageError(
                f"{topic} has no partition {', '.join(map(str, sorted(missing)))};"
                f" it has {', '.join(map(str, sorted(there)))}"
            )
        return sorted(named or there)


class Scan:
    """A stretch of a topic. ``total`` counts the offsets in it, before anything is read."""

    def __init__(self, settings: Settings, topic: str, stretch: Stretch) -> None:
        self._topic = topic
        self._name = kafka.topic_name(settings, topic)
        self._consumer = Consumer(
            {
                **kafka.confluent_options(settings),
                # assigned by hand and never committed: the name of the group means nothing
                "group.id": f"telltale-scan-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                self._bounds = self._resolve(stretch)
                return
            except UsageError:
                self._consumer.close()
                raise
            except KafkaException as error:
                # a topic just made, or moving, has no leader for a moment
                if error.args[0].code() in _MOVING and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                self._consumer.close()
                answering(settings)
                where = kafka.bootstrap(settings)
                raise DependencyAway(f"Kafka at {where}", str(error.args[0])) from error

    @property
    def total(self) -> int:
        """Offsets in the stretch."""
        return sum(end - begin for begin, end in self._bounds.values())

    def __iter__(self) -> Iterator[Read]:
        """The messages, until the end that was fixed at the start."""
        left = {number: bounds for number, bounds in self._bounds.items() if bounds[0] < bounds[1]}
        self._consumer.assign([TopicPartition(self._name, n, left[n][0]) for n in left])
        while left:
            for message in self._consumer.consume(AT_ONCE, 0.2):
                number, error = message.partition(), message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise DependencyAway("Kafka", str(error))
                if number not in left:
                    continue
                # markers and compaction leave offsets without a message: the end counts too
                if error is None and message.offset() < left[number][1]:
                    yield self._read(message)
                if error is not None or message.offset() + 1 >= left[number][1]:
                    del left[number]

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _read(self, m: Any) -> Read:
        return Read(
            self._topic,
            m.partition(),
            m.offset(),
            m.timestamp()[1],
            m.key(),
            m.value(),
            list(m.headers() or []),
        )

    def _resolve(self, stretch: Stretch) -> dict[int, tuple[int, int]]:
        found = self._consumer.list_topics(self._name, timeout=TIMEOUT_S).topics[self._name]
        if found.error is not None or not found.partitions:
            raise TopicMissing(f"there is no topic {self._name}; see 'telltale topics list'")
        numbers = stretch.partitions(self._name, found.partitions)
        since, until = self._at(stretch.since, numbers), self._at(stretch.until, numbers)
        bounds: dict[int, tuple[int, int]] = {}
        for number in numbers:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._name, number), timeout=TIMEOUT_S
            )
            begin = max(low, since.get(number, low), (stretch.first or {}).get(number, low))
            last = (stretch.last or {}).get(number, high - 1)
            bounds[number] = (begin, max(begin, min(high, until.get(number, high), last + 1)))
        return bounds

    def _at(self, when: datetime | None, partitions: list[int]) -> dict[int, int]:
        if when is None:
            return {}
        ms = int(when.timestamp() * 1000)
        asked = [TopicPartition(self._name, number, ms) for number in partitions]
        found = self._consumer.offsets_for_times(asked, timeout=TIMEOUT_S)
        # -1: nothing arrived at or after that time, so it lies at the end
        return {tp.partition: tp.offset for tp in found if tp.offset >= 0} | {
            tp.partition: 2**62 for tp in found if tp.offset < 0
        }
