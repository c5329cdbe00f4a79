"""Faust's transport to Kafka, changed where it loses events, repeats them or is slow.

In: Faust's own classes. Out: the same, for ``StageApp``: a producer whose repeats arrive once, and a
consumer that waits for room, and that goes back to what nobody has finished when partitions move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import structlog
from aiokafka.consumer.fetcher import OffsetResetStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import WaitResults

from telltale.delivery.eager import Ended, begin

FETCH_WAIT_MS = 200
CLOSE_S = 5.0
"""A client that has not closed by then is left: what was finished is committed before."""

log = structlog.get_logger()


class _Producer(driver.Producer):  # type: ignore[misc]
    """Idempotent: what the client sends again by itself arrives once, and in order."""

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Asks the broker for events a little at a time.

    A broker answers the requests of a connection one after the other. As it comes, it may keep one for
    events for 1.5 s; all that while partitions that have just been taken over bring nothing, nor can
    it be asked where they begin and end.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        """As it comes, but a worker that is stopping does not join its group again: it is about to leave.

        Joining lasts until every other worker has finished what it has in hand.
        """
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        join = coordinator._do_rejoin_group

        async def join_unless_stopping(subscription: Any) -> bool:
            if not self.app.should_stop:
                return bool(await join(subscription))
            await asyncio.wait([coordinator._closing])
            return False

        coordinator._do_rejoin_group = join_unless_stopping

    async def on_thread_stop(self) -> None:
        """As it comes, for at most ``CLOSE_S`` seconds: it may be waiting to have joined its group.

        A client whose fetch has just failed, as after a SIGSTOP, cancels whoever closes it. As it
        comes this thread then ends without a word, and the worker waits for it for ever.
        """
        closing = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait([closing], timeout=CLOSE_S)
        if not closing.done():
            closing.cancel()
            log.warning("the consumer did not close", seconds=CLOSE_S)
        elif not closing.cancelled():
            closing.result()  # raises what it raised

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """As it comes, and where nothing is committed yet, to the beginning.

        What a fetch brings while partitions move Faust throws away, and goes back to what is committed.
        As it comes that leaves a partition without a commit behind what was thrown away: nobody would
        read that before the worker ends, and the next commit would pass over it for good.
        """
        offsets: Mapping[TP, int] = await self.call_thread(self._seek, self._ensure_consumer())
        return offsets

    async def _seek(self, client: Any) -> Mapping[TP, int]:
        offsets: Mapping[TP, int] = await client.seek_to_committed()
        held = client.assignment()
        if fresh := [tp for tp, offset in offsets.items() if not offset and tp in held]:
            # not waited for: one partition whose leader is away must not keep the others
            client._fetcher.request_offset_reset(fresh, OffsetResetStrategy.EARLIEST)
        return offsets


class _Consumer(driver.Consumer):  # type: ignore[misc]
    """Waits for room instead of giving up a full partition; commits all before partitions go.

    As it comes, a partition with a full buffer is no longer fetched, and when all are full the
    fetcher sleeps for a second: with buffers as small as a slow stage needs, most of the time.
    """

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *given: Any, timeout: Any = None) -> Any:
        """As it comes, but what ends without waiting costs no task.

        To put one message into a buffer, nearly always one with room, takes four tasks otherwise.
        """
        first, *others = given
        if not asyncio.iscoroutine(first):
            return await super().wait_first(*given, timeout=timeout)
        begun: Ended | Awaitable[Any] | None = None
        try:
            begun = begin(first)
        finally:
            if begun is None or isinstance(begun, Ended):
                for unneeded in filter(asyncio.iscoroutine, others):
                    unneeded.close()
        if isinstance(begun, Ended):
            return WaitResults([first], [begun.result], self.should_stop)
        return await super().wait_first(begun, *others, timeout=timeout)

    def on_buffer_full(self, tp: Any) -> None:
        """Keep fetching; the put that follows waits until there is room."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """As it comes, and a partition without a commit is known as one.

        As it comes, what a commit that failed would have committed still counts as committed there.
        """
        offsets: Mapping[TP, int] = await super().seek_to_committed()
        self._committed_offset.update({tp: None for tp, offset in offsets.items() if not offset})
        return offsets

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """What is known of partitions that go is forgotten when they have gone.

        Faust forgets first what was acknowledged since the last commit, up to a second's worth, and
        commits what is left: at every rebalance those that stay in the group would repeat it.
        """
        for known in (self._active_partitions, self._paused_partitions):
            known.difference_update(revoked)
        await self._on_partitions_revoked(revoked)
        for known in (
            self._gap, self._acked, self._acked_index, self._read_offset, self._committed_offset,
        ):  # fmt: skip
            for tp in revoked:
                known.pop(tp, None)

    async def commit_and_end_transactions(self) -> None:
        """The last commit before partitions go.

        Faust takes a commit that is under way for this one, though it began before the last events
        were acknowledged: whoever holds the partitions next would repeat these.
        """
        while await self.maybe_wait_for_commit_to_finish():
            pass
        await super().commit_and_end_transactions()


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with the producer and the consumer of this file."""

    Consumer = _Consumer
    Producer = _Producer
