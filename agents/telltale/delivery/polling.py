"""Messages from the client straight to the lane, a fetch at a time.

In: what Faust's client thread has fetched. Out: ``Polled`` messages in the hands of the app's lane, in the
order of their offsets a partition. Faust's own way (conductor, channel, stream, event) starts four tasks a
message to be able to stop in the middle; here they are started once a fetch. What Faust keeps is used as it
is: read offsets, gaps, flow control, acknowledgement, commits and the set of messages that a hand-over
waits for. Nothing is raised but what the client raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

log = structlog.get_logger()


@dataclass(slots=True, eq=False, weakref_slot=True)
class Polled:
    """A message as delivery and Faust's acknowledgement need it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    generation_id: int
    tp: TP
    acked: bool = False


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Hands fetches to the lane and waits for room there before it asks for more."""

    def on_buffer_full(self, tp: Any) -> None:
        """Never told: there is no buffer but the lane."""

    async def verify_all_partitions_active(self) -> None:
        """Nothing: the watchdog is ours, and this walks through every partition twice a second."""

    async def _drain_messages(self, fetcher: Any) -> None:
        """Until told to stop: wait for a fetch, hand it over, wait for room."""
        while not (self.should_stop or fetcher.should_stop):
            # a fetch that is there already is returned without letting anybody else run
            await self.sleep(0)
            generation = self.app.consumer_generation_id
            records, active = await self._wait_next_records(1.0)
            if not records or self.should_stop:
                continue
            if not self.flow_active or generation != self.app.consumer_generation_id:
                # partitions went while this was fetched: it may begin behind what was given back,
                # and taking it would count what lies between as read
                await self._back_to_committed()
                continue
            messages = [message async for message in self._new(records, active, generation)]
            await self.wait_first(self.app.lane.take(messages), self.suspend_flow.wait())

    async def _back_to_committed(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:  # as Faust has it: the next assignment seeks again
            log.warning("not back at the committed offsets", problem=str(error))

    async def _new(
        self, records: Mapping[TP, Any], active: set[TP] | None, generation: int
    ) -> AsyncIterator[Polled]:
        """The messages not read yet, round robin over partitions."""
        for tp, record in self._in_turn(records):
            if active is not None and tp not in active:
                continue
            offset, read = record.offset, self._read_offset[tp]
            if read is not None and offset < read:
                continue
            if read and offset - read > 1 and self.app.topics.acks_enabled_for(tp.topic):
                # offsets that no message has (of transactions, compacted away) need no acknowledgement
                await self._add_gap(tp, read + 1, offset)
            self._read_offset[tp] = offset
            yield Polled(
                tp.topic,
                tp.partition,
                offset,
                record.key,
                record.value,
                record.headers,
                generation,
                tp,
            )

    def _in_turn(self, records: Mapping[TP, Any]) -> Iterator[tuple[TP, Any]]:
        turns: Iterator[tuple[TP, Any]] = self.scheduler.iterate(records)
        return turns
