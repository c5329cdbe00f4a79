"""Uploads into the stream and arrivals out of it, by a stock client, timed on one clock.

In: connected settings. Out: the moments (``time.perf_counter``) at which uploads were handed to the
client and at which events on a topic reached it. Raises ``DependencyAway`` when the broker does not take
or answer in time, naming what is missing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from telltale import topics
from telltale.delivery.kafka import confluent_options, topic_name
from telltale.errors import DependencyAway
from telltale.events import Envelope, ImageUploaded, value_bytes
from telltale.settings import Settings

# the moment says nothing here: latency is measured on one monotonic clock, not from this
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
ANSWER_S = 15.0


def upload_envelope(upload: ImageUploaded) -> Envelope:
    """Attributes of an upload, with an id of its own."""
    return Envelope(
        id=uuid4(), type=upload.type_name, subject=upload.image_id, time=WHEN,
        traceparent=f"00-{uuid4().hex}-{uuid4().hex[:16]}-01",
    )  # fmt: skip


class Uploads:
    """Sends uploads; all are written before the first is sent, so that sending costs little."""

    def __init__(self, settings: Settings) -> None:
        self._topic = topic_name(settings, topics.UPLOADED.name)
        # linger: in a flood, fill the broker's batches; a single upload goes out at once
        self._producer = Producer(
            {
                **confluent_options(settings),
                "linger.ms": 0,
                "partitioner": "murmur2_random",  # the stages' client's own
                "queue.buffering.max.messages": 1_000_000,
            }
        )

    def send(self, uploads: Sequence[ImageUploaded]) -> dict[str, float]:
        """When each image id was sent, in order; returns once the broker has all."""
        written = [(u.image_id, value_bytes(u), upload_envelope(u).headers()) for u in uploads]
        sent = {}
        for image_id, value, headers in written:
            sent[image_id] = time.perf_counter()
            self._producer.produce(self._topic, value, image_id.encode(), headers=list(headers))
            self._producer.poll(0)
        if left := self._producer.flush(60):
            raise DependencyAway("kafka", f"{left} uploads of the benchmark were not taken")
        return sent


def evenly(stem: str, count: int, partitions: int) -> list[str]:
    """Image ids that begin with ``stem`` and go to the partitions in turn, on every topic."""
    names = []
    for n in range(count):
        tries = (f"{stem}{n}-{k}" for k in itertools.count())
        names.append(next(t for t in tries if _partition(t, partitions) == n % partitions))
    return names


def _partition(image_id: str, partitions: int) -> int:
    return int(murmur2(image_id.encode()) & 0x7FFFFFFF) % partitions


@dataclass
class Arrivals:
    """What a stock consumer in no group has seen on a topic since it was made."""

    consumer: Consumer
    plain: dict[str, str]

    def until(self, image_ids: Iterable[str], topic: str, within_s: float) -> dict[str, float]:
        """When each image's first event on ``topic`` came. Raises ``DependencyAway`` naming the rest."""
        missing = set(image_ids)
        came: dict[str, float] = {}
        heard = time.perf_counter()
        while missing:
            message = self.consumer.poll(0.05)
            if message is not None and not message.error():
                now = time.perf_counter()
                image_id = (message.key() or b"").decode()
                if self.plain[message.topic()] == topic and image_id in missing:
                    came[image_id] = heard = now
                    missing.discard(image_id)
            if time.perf_counter() - heard > within_s:
                raise DependencyAway(
                    "stream", f"{len(missing)} images had no event on {topic} for {within_s:g} s"
                )
        return came


@contextmanager
def arrivals(settings: Settings, *watched: topics.Topic) -> Iterator[Arrivals]:
    """Follow topics from now on."""
    consumer = Consumer(
        {
            **confluent_options(settings),
            "group.id": f"bench-{uuid4()}",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        consumer.assign(_ends(consumer, [topic_name(settings, t.name) for t in watched]))
        yield Arrivals(consumer, {topic_name(settings, t.name): t.name for t in watched})
    finally:
        consumer.close()


def message_bytes(settings: Settings, names: Sequence[str]) -> dict[str, float]:
    """Mean bytes of a message a topic (key, value and headers, before the broker's framing)."""
    sizes = {}
    for name in names:
        found = [
            len(m.key() or b"") + len(m.value() or b"")
            + sum(len(k) + len(v) for k, v in m.headers() or ())
            for m in _all(settings, name)
        ]  # fmt: skip
        if found:
            sizes[name] = round(sum(found) / len(found), 1)
    return sizes


def sample(settings: Settings, name: str) -> bytes | None:
    """The longest value on a topic; None when it is empty."""
    values = [m.value() or b"" for m in _all(settings, name)]
    return max(values, key=len, default=None)


def _all(settings: Settings, name: str) -> list[Any]:
    consumer = Consumer(
        {**confluent_options(settings), "group.id": f"bench-{uuid4()}", "enable.auto.commit": False}
    )
    try:
        ends = _ends(consumer, [topic_name(settings, name)])
        left = sum(tp.offset for tp in ends)
        consumer.assign([TopicPartition(tp.topic, tp.partition, 0) for tp in ends])
        found: list[Any] = []
        deadline = time.monotonic() + ANSWER_S
        while len(found) < left and time.monotonic() < deadline:
            found += [m for m in consumer.consume(left - len(found), timeout=1) if not m.error()]
        return found
    finally:
        consumer.close()


def _ends(consumer: Consumer, names: Sequence[str]) -> list[TopicPartition]:
    listed = consumer.list_topics(timeout=ANSWER_S).topics
    return [
        TopicPartition(name, p, _end(consumer, TopicPartition(name, p)))
        for name in names
        for p in listed[name].partitions
    ]


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    """The partition's next offset. Asked again while a new partition finds its leader."""
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            return int(consumer.get_watermark_offsets(partition, timeout=ANSWER_S)[1])
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise DependencyAway("kafka", f"{partition.topic}: {error}") from error
            time.sleep(0.1)
