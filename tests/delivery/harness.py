"""What delivery is tested with: real Kafka, workers as processes, and a stock client as auditor.

The auditor is confluent-kafka, which shares no code with the Faust and aiokafka under test.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from telltale.delivery import kafka
from telltale.delivery.topics_admin import create_topics
from telltale.events import Envelope, Event, ImageUploaded, value_bytes
from telltale.lab.chaos_pool import WorkerProcess
from telltale.settings import load_settings
from telltale.topics import ADMITTED, UPLOADED, Topic

HERE = Path(__file__).parent
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def wait(
    condition: Callable[[], object], within_s: float, what: str, every_s: float = 0.05
) -> None:
    """Wait until the condition holds; fails saying what did not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} not within {within_s:g} s"
        time.sleep(every_s)


@dataclass(frozen=True)
class Record:
    """A message as a stock client sees it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    partition: int = 0
    offset: int = 0
    at_ms: int = 0  # the broker's clock, which is this machine's

    def header(self, name: str) -> str:
        return dict(self.headers)[name].decode()

    @property
    def content(self) -> tuple[object, ...]:
        return self.key, self.value, self.headers

    @property
    def original(self) -> tuple[object, ...]:
        """What a dead letter was before it died."""
        kept = tuple(h for h in self.headers if not h[0].startswith("telltale.errors."))
        return self.key, self.value, kept


def second_after(*records: Record) -> datetime:
    """The whole second after all of these, once it is over: what is sent now comes behind it."""
    second = max(r.at_ms for r in records) // 1000 + 1
    wait(lambda: time.time() > second, 10, "the next second")
    return datetime.fromtimestamp(second, UTC)


def upload(image_id: str, do: str = "", traceparent: str | None = None, **context: str) -> Record:
    """An upload that asks a toy stage for something."""
    event = ImageUploaded(
        image_id=image_id,
        uploaded_at=WHEN,
        uri="https://pictures.example/1",
        context={"do": do, **context},
    )
    return message(event, uuid.uuid5(uuid.NAMESPACE_URL, image_id), traceparent)


def message(event: Event, event_id: uuid.UUID, traceparent: str | None = None) -> Record:
    """An event as its stage sends it."""
    envelope = Envelope(
        id=event_id,
        type=event.type_name,
        subject=event.image_id,
        time=WHEN,
        traceparent=traceparent,
    )
    return Record(event.image_id.encode(), value_bytes(event), tuple(envelope.headers()))


class Worker(WorkerProcess):
    """A worker process of toy stages."""

    def ready(self, within_s: float = 120.0) -> Worker:
        def holds_partitions() -> bool:
            assert self.alive, self.text[-3000:]
            return self.in_group

        wait(holds_partitions, within_s, "a ready worker")
        return self


@dataclass
class Cluster:
    """Topics of one test on a shared broker."""

    bootstrap: str
    folder: Path
    partitions: int = 4
    topics: Sequence[Topic] = (UPLOADED, ADMITTED)
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}.")

    def __post_init__(self) -> None:
        settings = load_settings(
            kafka_bootstrap=self.bootstrap,
            topic_prefix=self.prefix,
            kafka_partitions=self.partitions,
        )
        topics = (*self.topics, *(topic.dead for topic in self.topics))
        asyncio.run(create_topics(settings, topics))
        self.settings = settings
        self._workers = 0
        for topic in topics:
            wait(lambda name=topic.name: self._is_led(name), 60, f"leaders of {topic.name}")

    def send(self, *records: Record, topic: str = UPLOADED.name) -> None:
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "linger.ms": 5, "message.max.bytes": 2_000_000}
        )
        for r in records:
            producer.produce(self.prefix + topic, r.value, r.key, headers=list(r.headers))
        assert producer.flush(30) == 0

    def _is_led(self, topic: str) -> bool:
        """Whether every partition answers: a topic that was just made may take a moment."""
        try:
            return self.end(topic) >= 0
        except KafkaException:
            return False

    def end(self, topic: str) -> int:
        """Messages in a topic so far."""
        consumer = self._consumer()
        try:
            return sum(consumer.get_watermark_offsets(tp)[1] for tp in self._all(consumer, topic))
        finally:
            consumer.close()

    def lag(self, stage: str, *topics: str) -> int:
        """Messages that the stage's group has yet to acknowledge, whether or not anybody is in it."""
        consumer = self._consumer(kafka.group_name(self.settings, stage))
        try:
            partitions = [tp for topic in topics for tp in self._all(consumer, topic)]
            return sum(
                consumer.get_watermark_offsets(tp)[1] - max(tp.offset, 0)
                for tp in consumer.committed(partitions, timeout=30)
            )
        finally:
            consumer.close()

    def read(self, topic: str, least: int = 0, within_s: float = 90.0) -> list[Record]:
        """All of a topic, once it holds at least that many."""
        wait(lambda: self.end(topic) >= least, within_s, f"{least} messages on {topic}")
        consumer = self._consumer()
        partitions = self._all(consumer, topic)
        left = sum(consumer.get_watermark_offsets(tp)[1] for tp in partitions)
        consumer.assign(partitions)
        found: list[Record] = []
        while len(found) < left:
            for m in consumer.consume(left - len(found), timeout=1):
                assert m.error() is None, m.error()
                headers = tuple(m.headers() or ())
                at_ms = m.timestamp()[1]
                found.append(Record(m.key(), m.value(), headers, m.partition(), m.offset(), at_ms))
        consumer.close()
        return found

    def answers(self, images: set[str], within_s: float = 120.0) -> list[Record]:
        """All answers, once every image has one; repeats are among them."""
        found: list[Record] = []

        def complete() -> bool:
            found[:] = self.read(ADMITTED.name)
            return images <= {r.header("ce_subject") for r in found}

        wait(complete, within_s, f"answers to all {len(images)} images")
        return found

    @contextmanager
    def worker(self, *stages: str, **environment: str) -> Iterator[Worker]:
        worker = self.start(*stages, **environment)
        try:
            yield worker
        finally:
            worker.process.kill()
            worker.process.wait()

    def start(self, *stages: str, **environment: str) -> Worker:
        """Start without waiting; whoever starts it ends it."""
        self._workers += 1
        log = self.folder / f"worker-{self.prefix}{self._workers}.log"
        variables = {
            "TELLTALE_KAFKA_BOOTSTRAP": self.bootstrap,
            "TELLTALE_TOPIC_PREFIX": self.prefix,
            "TELLTALE_HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "toy", *stages],
            cwd=HERE,
            env={**os.environ, **variables},
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        return Worker(process, log)

    def _consumer(self, group: str | None = None) -> Consumer:
        return Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": group or uuid.uuid4().hex,
             "enable.auto.commit": False}
        )  # fmt: skip

    def _all(self, consumer: Consumer, topic: str) -> list[TopicPartition]:
        name = self.prefix + topic
        found = consumer.list_topics(name, timeout=10).topics[name].partitions
        return [TopicPartition(name, number, OFFSET_BEGINNING) for number in found]
