"""The two ends of the stream under test, as stock clients: what goes in, what comes out.

In: a ``Ground`` and a ``Ledger``. Out: entries in the ledger. The clients are confluent-kafka, which
shares no code with the Faust and aiokafka under test. A broker that is away is waited for. Raises
``DependencyAway`` when the broker will not take an upload at all.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from telltale.delivery.kafka import confluent_options, group_name, topic_name
from telltale.errors import DependencyAway
from telltale.events import Envelope, value_bytes
from telltale.lab.chaos_dead import DeadLetters, dead_letters
from telltale.lab.chaos_ground import Ground
from telltale.lab.ledger import Ledger
from telltale.topics import UPLOADED

READ_AT_ONCE = 1000
ASK_S = 10.0
QUIET_S = 60.0  # the longest that reading what is there may stand still


class Stream:
    """Sends the uploads of a ledger and writes down what is answered."""

    def __init__(self, ground: Ground, ledger: Ledger) -> None:
        self._ground, self._ledger = ground, ledger
        self._options = {**confluent_options(ground.settings), "log_level": 0}
        self._uploads = topic_name(ground.settings, UPLOADED.name)
        self._answers = topic_name(ground.settings, ground.answers.name)
        self._producer = Producer({**self._options, "enable.idempotence": True, "linger.ms": 5})
        self._consumer = self._reader("audit")
        self._consumer.assign(self._partitions(self._consumer, self._answers))
        self._refused: list[str] = []
        self.sent = 0

    def send(self) -> None:
        """Send the next upload, without waiting for the broker.

        To the partitions in turn: at a low rate one might see no upload for long, and nothing could be
        said of its recovery.
        """
        number, ledger = self.sent, self._ledger
        image_id = ledger.image_id(number)
        event = self._ground.upload(image_id, number)
        envelope = Envelope(
            id=ledger.upload_id(number), type=event.type_name, subject=image_id, time=event.uploaded_at
        )  # fmt: skip
        ledger.sent_s[number] = time.time()
        self._producer.produce(
            self._uploads, value_bytes(event), image_id.encode(), headers=envelope.headers(),
            partition=number % self._ground.settings.kafka_partitions,
            on_delivery=lambda error, message: self._confirm(number, error, message),
        )  # fmt: skip
        self.sent += 1

    def step(self, timeout_s: float) -> int:
        """Read for at most that long; how many answers came. Confirmations are taken on the way."""
        self._producer.poll(0)
        if self._refused:
            raise DependencyAway("kafka", f"an upload was not taken: {self._refused[0]}")
        heard = 0
        for message in self._consumer.consume(READ_AT_ONCE, timeout_s):
            if message.error() is None:  # what is wrong with a broker passes, or shows as a loss
                self._hear(message)
                heard += 1
        return heard

    @property
    def settled(self) -> bool:
        """Whether all that was sent is confirmed and answered."""
        return self._ledger.confirmed == self.sent == self._ledger.answered

    def read_to_end(self) -> None:
        """Read every answer that is there. Raises ``DependencyAway`` when that does not go on."""
        partitions = self._partitions(self._consumer, self._answers)
        ends = [self._consumer.get_watermark_offsets(p, timeout=ASK_S)[1] for p in partitions]
        heard_at = time.monotonic()
        while sum(max(p.offset, 0) for p in self._consumer.position(partitions)) < sum(ends):
            if self.step(0.5):
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > QUIET_S:
                raise DependencyAway("kafka", f"{self._answers} was not read to its end")

    def dead(self) -> DeadLetters:
        """Dead letters of every stage so far."""
        return dead_letters(self._ground.settings)

    def lag(self) -> int | None:
        """Uploads that the first stage has not acknowledged; None while the broker does not say."""
        group = group_name(self._ground.settings, self._ground.stages[0])
        consumer = self._reader(group)
        try:
            partitions = consumer.committed(
                self._partitions(consumer, self._uploads), timeout=ASK_S
            )
            ends = [consumer.get_watermark_offsets(p, timeout=ASK_S)[1] for p in partitions]
            return sum(
                int(end) - max(int(p.offset), 0) for p, end in zip(partitions, ends, strict=True)
            )
        except KafkaException:
            return None
        finally:
            consumer.close()

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _confirm(self, number: int, error: object, message: Any) -> None:
        if error is not None:
            self._refused.append(str(error))
            return
        self._ledger.confirm(number, message.partition())

    def _hear(self, message: Any) -> None:
        headers = dict(message.headers() or ())
        self._ledger.hear(
            headers.get("ce_subject", b"").decode(),
            headers.get("ce_id", b"").decode(),
            message.value() or b"",
            time.time(),
            message.timestamp()[1] / 1000,
        )

    def _reader(self, group: str) -> Consumer:
        # never subscribes, so it is in no group and disturbs nobody
        return Consumer({**self._options, "group.id": group, "enable.auto.commit": False})

    @staticmethod
    def _partitions(consumer: Consumer, name: str) -> list[TopicPartition]:
        found = consumer.list_topics(name, timeout=ASK_S).topics[name].partitions
        return [TopicPartition(name, number, OFFSET_BEGINNING) for number in found]
