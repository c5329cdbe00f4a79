"""Messages sent by a command: confirmed by the broker, at most so many a second.

In: messages for topics on the cluster. Out: nothing; ``confirm`` returns once the broker has them
all. Raises ``DependencyAway`` when it does not take them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import KafkaException, Producer

from telltale.delivery import kafka
from telltale.delivery.taken import Message
from telltale.errors import DependencyAway
from telltale.settings import Settings

FLUSH_S = 60.0


class Emitter:
    """An idempotent producer that forgets no failure."""

    def __init__(self, settings: Settings) -> None:
        self._producer = Producer(
            {
                **kafka.confluent_options(settings),
                "enable.idempotence": True,
                "linger.ms": 20,
                # the limit is the topic's, which the broker knows and the client does not
                "message.max.bytes": 2**21,
            }
        )
        self._failed: list[str] = []

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Hand one message over; it is there only after ``confirm``."""
        while True:
            try:
                self._producer.produce(
                    topic, value, key, headers=list(headers), on_delivery=self._note
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.5)  # the client's buffer is full: wait for confirmations
            except KafkaException as error:
                raise DependencyAway("Kafka", str(error.args[0])) from error

    def confirm(self) -> None:
        """Wait until the broker has everything. Raises ``DependencyAway`` if it does not."""
        if self._producer.flush(FLUSH_S) or self._failed:
            problem = self._failed[0] if self._failed else "does not confirm"
            raise DependencyAway("Kafka", f"{problem}; the same command again goes on from here")

    def _note(self, error: object, _: Message) -> None:
        if error:
            self._failed.append(str(error))


class Pace:
    """At most ``rate`` a second; as fast as it goes if there is none."""

    def __init__(self, rate: float | None) -> None:
        self._rate, self._began, self._done = rate, time.monotonic(), 0

    def wait(self) -> None:
        """Call after each: returns when the next may go."""
        self._done += 1
        if self._rate:
            time.sleep(max(0.0, self._began + self._done / self._rate - time.monotonic()))
