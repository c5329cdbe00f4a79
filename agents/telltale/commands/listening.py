"""Follow verdicts and explanations as they come, with a stock Kafka client.

In: connected settings. Out: ``Heard`` events in the order of their arrival. Raises ``UsageError``
for topics that are not there and ``DependencyAway`` for a broker that does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from telltale import topics
from telltale.delivery.kafka import confluent_options, topic_name
from telltale.delivery.refusals import answering
from telltale.errors import DependencyAway, EventUnreadable, UsageError
from telltale.events import Envelope, Event, read_headers, read_value
from telltale.settings import Settings

ANSWER_S = 15.0  # a broker that has not answered a metadata request by then is away


@dataclass(frozen=True)
class Heard:
    """An event, its attributes, and when the broker stored it."""

    event: Event
    envelope: Envelope
    stored_at: datetime

    @property
    def latency_ms(self) -> float:
        """From the upload to the moment the broker stored this event, milliseconds."""
        return (self.stored_at - self.event.uploaded_at).total_seconds() * 1000


class Listener:
    """Reads topics from now on, or from a time; belongs to no group, so it disturbs nobody."""

    def __init__(
        self, settings: Settings, *names: topics.Topic, since: datetime | None = None
    ) -> None:
        self._plain = {topic_name(settings, t.name): t.name for t in names}
        options = confluent_options(settings)
        require_topics(settings, *names)
        self._consumer = Consumer(
            {**options, "group.id": f"listener-{uuid4()}", "enable.auto.commit": False}
        )
        try:
            self._consumer.assign(self._starts(since))
        except KafkaException as error:
            raise DependencyAway("kafka", str(error)) from error

    def poll(self, timeout_s: float) -> Heard | None:
        """The next event, or None when none has come in that time."""
        message = self._consumer.poll(timeout_s)
        if message is None or message.error():
            return None
        try:
            value = message.value()
            event = read_value(self._plain[message.topic()], value)
            envelope = read_headers(dict(message.headers() or ()), value or b"", event)
        except EventUnreadable:
            return None  # somebody else's message on our topic; the stages answer for it
        return Heard(event, envelope, datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC))

    def __iter__(self) -> Iterator[Heard]:
        while True:
            if (heard := self.poll(0.5)) is not None:
                yield heard

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _starts(self, since: datetime | None) -> list[TopicPartition]:
        listed = self._consumer.list_topics(timeout=ANSWER_S).topics
        every = [(name, p) for name in self._plain for p in listed[name].partitions]
        if since is not None:
            at_ms = int(since.timestamp() * 1000)
            asked = [TopicPartition(name, p, at_ms) for name, p in every]
            starts = self._consumer.offsets_for_times(asked, timeout=ANSWER_S)
            return [
                TopicPartition(s.topic, s.partition, s.offset if s.offset >= 0 else OFFSET_END)
                for s in starts
            ]
        # fixed now, not at the first poll: what is sent after this call is heard
        return [
            TopicPartition(
                name,
                p,
                self._consumer.get_watermark_offsets(TopicPartition(name, p), timeout=ANSWER_S)[1],
            )
            for name, p in every
        ]


def require_topics(settings: Settings, *names: topics.Topic) -> None:
    """Raise ``UsageError`` for topics that are not there, ``DependencyAway`` without a broker."""
    client = AdminClient(confluent_options(settings))
    try:
        there = client.list_topics(timeout=ANSWER_S).topics
    except KafkaException as error:
        answering(settings)
        raise DependencyAway(
            "kafka", f"{settings.kafka_bootstrap} does not answer; 'telltale doctor' says more"
        ) from error
    missing = [n for t in names if (n := topic_name(settings, t.name)) not in there]
    if missing:
        raise UsageError(f"no topic {', '.join(missing)}; make them with 'telltale topics create'")
