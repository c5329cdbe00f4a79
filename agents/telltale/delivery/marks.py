"""Attempts that outlive their worker, kept in the group's own commit metadata.

An event that kills its worker (a segfault, no memory) leaves nothing behind to count by, and another
worker takes over. Kafka keeps a short text with every committed offset, shared by the group and
written with the offset itself, so that needs no further store. What is written, by partition:

- ``held:n`` when a worker takes the partition over: n workers before it went without a farewell
  and without moving the offset. Faust's own commits write an empty text: it moved, n is 0.
- ``released:n`` at a clean hand-over, so that rebalances and restarts count for nothing.
- ``trying:k:offset`` before an event is tried alone for the k-th time; taken back when it turns out that
  a dependency is away, or when it is given back: a worker that ends meanwhile did not die of it.

After two deaths on the spot the next ``WINDOW`` events are tried one by one, with ``trying`` written
before each: exact, and only paid for when something is wrong. In: messages. Out: whether to be
careful with one, and its ``Dead`` when its attempts are used up.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from structlog.contextvars import bound_contextvars

from telltale.delivery.taken import Dead, Message
from telltale.errors import EventFailed

# one death may be anybody's: an operator's kill, a machine going down
DEATHS_TO_SUSPECT = 2
HELD, RELEASED, TRYING = "held", "released", "trying"

log = structlog.get_logger()


class WorkerDied(EventFailed):
    """The worker died while it was trying this event, as often as the settings allow."""


@dataclass
class Mark:
    """What is known of a partition: where it stood when taken, and how often workers died there."""

    head: int
    deaths: int = 0
    trying: tuple[int, int] | None = None  # (attempt, offset)
    open: bool = False  # an attempt of ours is on record and not over
    suspect_until: int = -1  # offsets below are tried one by one

    @property
    def text(self) -> str:
        """The metadata that says the same, for a partition that has not moved."""
        if self.trying:
            return f"{TRYING}:{self.trying[0]}:{self.trying[1]}"
        return f"{RELEASED}:{self.deaths}"


class Marks:
    """Marks of the partitions that one app holds."""

    def __init__(self, app: faust.App, attempts: int, window: int) -> None:
        self._app, self._attempts, self._window = app, attempts, window
        self._marks: dict[tuple[str, int], Mark] = {}
        self._read = False

    def suspect(self, message: Message) -> bool:
        """Whether to try this event alone."""
        mark = self._marks.get((message.topic, message.partition))
        return mark is not None and message.offset < mark.suspect_until

    async def read(self) -> None:
        """Read what earlier holders left, and put down that the partitions are held now."""
        consumer = self._app.consumer
        partitions = [TopicPartition(tp.topic, tp.partition) for tp in consumer.assignment()]
        if not partitions:
            return
        try:
            await self._take(partitions)
        except KafkaError as error:
            # a rebalance has come in between, or the broker is going: the next holder reads them
            log.warning("marks not read", problem=str(error))

    async def _take(self, partitions: list[TopicPartition]) -> None:
        committed = await self._committed(partitions)
        ends, starts = await asyncio.gather(
            self._call(self._client.end_offsets, partitions),
            self._call(self._client.beginning_offsets, partitions),
        )
        self._marks = {}
        held: dict[TopicPartition, OffsetAndMetadata] = {}
        for tp in partitions:
            found = committed.get(tp)
            head = found.offset if found and found.offset >= 0 else starts[tp]
            if head >= ends[tp]:
                continue  # nothing waits, so nothing can have killed anyone
            with bound_contextvars(topic=tp.topic, partition=tp.partition):
                mark = self._interpret(head, found.metadata if found else None)
            self._marks[tp.topic, tp.partition] = mark
            text = mark.text if mark.trying else f"{HELD}:{mark.deaths}"
            held[tp] = OffsetAndMetadata(head, text)
        await self._commit(held)
        self._read = True

    def _interpret(self, head: int, text: str | None) -> Mark:
        kind, *numbers = (text or "").split(":")
        if text is None or kind not in (HELD, RELEASED, TRYING, ""):
            return Mark(head)
        if kind == TRYING and len(numbers) == 2:
            trying = (int(numbers[0]), int(numbers[1]))
            return Mark(head, DEATHS_TO_SUSPECT, trying, suspect_until=head + self._window)
        # an empty text is Faust's: the offset moved, then the holder went without a farewell
        deaths = {HELD: int(numbers[0]) + 1 if numbers else 1, "": 1}.get(kind)
        if deaths is None:
            deaths = int(numbers[0]) if numbers else 0
        suspect = deaths >= DEATHS_TO_SUSPECT
        if suspect:
            log.warning("workers died here", deaths=deaths, offset=head)
        return Mark(head, deaths, suspect_until=head + self._window if suspect else -1)

    async def begin(self, message: Message) -> Dead | None:
        """Put an attempt at a suspect event on record; ``Dead`` if it has had its last.

        Raises ``KafkaError`` when the partition is no longer held: then it may not be tried.
        """
        tp = TopicPartition(message.topic, message.partition)
        mark = self._marks[message.topic, message.partition]
        before = mark.trying[0] if mark.trying and mark.trying[1] == message.offset else 0
        if before >= self._attempts:
            died = WorkerDied(f"{before} workers died while trying this event")
            return Dead(died, before, time.time())
        await self._app.consumer.commit()  # nothing may be left that would overwrite the mark
        mark.trying, mark.open = (before + 1, message.offset), True
        await self._commit({tp: OffsetAndMetadata(message.offset, mark.text)})
        return None

    async def withdraw(self, message: Message) -> None:
        """Take the attempt that ``begin`` put on record back, if it is still there."""
        mark = self._marks.get((message.topic, message.partition))
        if mark is None or not mark.open or mark.trying is None:
            return
        before = mark.trying[0] - 1
        mark.trying, mark.open = ((before, message.offset) if before else None), False
        tp = TopicPartition(message.topic, message.partition)
        try:
            await self._commit({tp: OffsetAndMetadata(message.offset, mark.text)})
        except KafkaError as error:
            # the partition has gone to somebody who will count one attempt too many
            log.warning("attempt not taken back", problem=str(error))

    async def end(self) -> None:
        """The suspect event is settled: move the offset past it, and the mark with it."""
        for mark in self._marks.values():
            mark.open = False
        await self._app.consumer.commit()

    async def release(self) -> None:
        """A clean hand-over: leave word that this holder did not die."""
        if not self._read:
            return
        self._read = False
        marks, self._marks = self._marks, {}
        partitions = [
            TopicPartition(tp.topic, tp.partition) for tp in self._app.consumer.assignment()
        ]
        try:
            committed = await self._committed(partitions)
            await self._commit(
                {
                    tp: OffsetAndMetadata(
                        found.offset, _farewell(found, marks.get((tp.topic, tp.partition)))
                    )
                    for tp, found in committed.items()
                    if found.offset >= 0
                }
            )
        except KafkaError as error:
            # not being able to say goodbye counts as one death, which is not enough to suspect
            log.warning("hand-over not recorded", problem=str(error))

    @property
    def _client(self) -> Any:
        return self._app.consumer._thread._ensure_consumer()

    async def _call(self, function: object, *args: object) -> dict[TopicPartition, int]:
        # the client lives on a loop of its own
        result: dict[TopicPartition, int] = await self._app.consumer._thread.call_thread(
            function, *args
        )
        return result

    async def _committed(
        self, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        coordinator = self._client._coordinator
        found: dict[TopicPartition, OffsetAndMetadata] = await self._call(
            coordinator.fetch_committed_offsets, partitions
        )
        return found

    async def _commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        if offsets:
            await self._call(self._client.commit, offsets)


def _farewell(found: OffsetAndMetadata, mark: Mark | None) -> str:
    moved = mark is None or found.offset != mark.head
    return f"{RELEASED}:0" if moved or mark is None else mark.text
