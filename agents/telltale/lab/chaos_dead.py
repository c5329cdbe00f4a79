"""Dead letters of a run, held byte for byte against the messages that died.

In: settings with the topics of a run. Out: ``DeadLetters``. A letter names the place where its message
lay; key, value and headers there must be its own, but for the headers added behind them. Read by a stock
client. Raises ``DependencyAway`` when a topic cannot be read to its end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from telltale.delivery.deadletter import OFFSET, PARTITION, PREFIX, TOPIC
from telltale.delivery.kafka import confluent_options, topic_name
from telltale.errors import DependencyAway
from telltale.events import BY_TOPIC
from telltale.settings import Settings

ASK_S = 10.0
QUIET_S = 60.0  # the longest that reading what is there may stand still


@dataclass(frozen=True)
class DeadLetters:
    """How many there are, and how many are not the message that died."""

    count: int = 0
    altered: int = 0


def dead_letters(settings: Settings) -> DeadLetters:
    """Of every stage so far."""
    letters, originals = _reader(settings), _reader(settings)
    try:
        there = letters.list_topics(timeout=ASK_S).topics
        names = [topic_name(settings, f"{name}.dead") for name in BY_TOPIC]
        same = [
            _is_original(letter, _died(originals, letter))
            for name in names
            if name in there
            for letter in _all(letters, name)
        ]
        return DeadLetters(len(same), same.count(False))
    finally:
        letters.close()
        originals.close()


def _is_original(letter: Any, died: Any | None) -> bool:
    if died is None:
        return False
    before, now = died.headers() or [], letter.headers() or []
    return (
        letter.key() == died.key()
        and letter.value() == died.value()
        and now[: len(before)] == before
        and all(name.startswith(PREFIX) for name, _ in now[len(before) :])
    )


def _died(consumer: Consumer, letter: Any) -> Any | None:
    """The message that a letter says it was; None if it names no place, or there is none there."""
    said, name = dict(letter.headers() or ()), letter.topic().removesuffix(".dead")
    try:
        place = TopicPartition(name, int(said[PARTITION]), int(said[OFFSET]))
    except (KeyError, ValueError):
        return None
    if said.get(TOPIC) != name.encode():
        return None
    if place.partition not in consumer.list_topics(name, timeout=ASK_S).topics[name].partitions:
        return None
    low, high = consumer.get_watermark_offsets(place, timeout=ASK_S)
    if not low <= place.offset < high:
        return None
    consumer.assign([place])
    return next(_read(consumer, name, 1))


def _all(consumer: Consumer, name: str) -> Iterator[Any]:
    numbers = consumer.list_topics(name, timeout=ASK_S).topics[name].partitions
    partitions = [TopicPartition(name, number, OFFSET_BEGINNING) for number in numbers]
    bounds = [consumer.get_watermark_offsets(p, timeout=ASK_S) for p in partitions]
    consumer.assign(partitions)
    yield from _read(consumer, name, sum(high - low for low, high in bounds))


def _read(consumer: Consumer, name: str, count: int) -> Iterator[Any]:
    """So many messages of what is assigned."""
    heard_at = time.monotonic()
    while count:
        for message in consumer.consume(min(count, 500), 0.5):
            if message.error() is None:
                heard_at, count = time.monotonic(), count - 1
                yield message
        if time.monotonic() - heard_at > QUIET_S:
            raise DependencyAway("kafka", f"{name} was not read to its end")


def _reader(settings: Settings) -> Consumer:
    # never subscribes, so it is in no group and disturbs nobody
    return Consumer(
        {
            **confluent_options(settings),
            "group.id": "audit",
            "enable.auto.commit": False,
            # a message is looked up at a time: what is asked for meanwhile need not be waited for
            "fetch.wait.max.ms": 10,
            "log_level": 0,
        }
    )
