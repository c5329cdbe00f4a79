"""The way of a stage's events, from the stream to their acknowledgement.

In: messages from the agent, one by one. Out: batches tried, settled and acknowledged in order. Three
things overlap: the next events are decoded and prepared as they arrive, the present batch is
processed, and the batch before it is being sent and confirmed. When partitions are taken away,
``let_go`` gives back all that is not yet being processed, so that a slow stage hands over quickly.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
from aiokafka.errors import KafkaError

from telltale.delivery.flood import Flood
from telltale.delivery.hold import Hold
from telltale.delivery.logs import about
from telltale.delivery.marks import Marks
from telltale.delivery.settle import Settle
from telltale.delivery.state import State
from telltale.delivery.taken import Message, Resolved, Taken, read
from telltale.delivery.trial import Process, Trial
from telltale.events import Event
from telltale.stages.contract import Batch, Item

log = structlog.get_logger()

Prepare = Callable[[Item[Event]], Awaitable[object]]

# events in hand beyond the batch at work: enough to prepare the next, few enough to hand over
LEAST_AHEAD = 16
# a burst arrives within this of its first event; waiting longer would only add latency
QUIET_S = 0.002


def ahead(batch: Batch) -> int:
    """How many events are taken before the first is finished: twice a batch."""
    return max(2 * batch.max_events, LEAST_AHEAD)


class Lane:
    """One stage's events in one worker."""

    def __init__(
        self,
        batch: Batch,
        plain_name: Callable[[str], str],
        process: Process,
        prepare: Prepare | None,
        attempts: int,
        hold: Hold,
        marks: Marks,
        settle: Settle,
        flood: Flood,
        state: State,
    ) -> None:
        self._batch, self._plain_name, self._prepare = batch, plain_name, prepare
        self._hold, self._marks, self._settle = hold, marks, settle
        self._flood, self._state = flood, state
        self._pending: deque[Taken] = deque()
        self._wanted = 1
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._settled = asyncio.Event()
        self._last_cut = 0  # events in the batch before
        self._unsettled = 0  # batches tried whose messages are not yet acknowledged
        self._tried: asyncio.Queue[list[Resolved]] = asyncio.Queue(maxsize=4)
        self._epoch = 0  # goes up whenever partitions may be taken away
        self._ready_for = -1  # the generation whose marks have been read
        self._trial = Trial(process, prepare, attempts, state, lambda: False)
        self._limit = ahead(batch)

    async def take(self, message: Message) -> None:
        """Take one message; waits while enough is in hand."""
        if self._state.pending == 0:
            self._state.progress()
        self._state.pending += 1
        self._state.metrics.count("telltale_events_total", self._state.stage)
        epoch = self._epoch
        while len(self._pending) >= self._limit and epoch == self._epoch:
            self._room.clear()
            await self._room.wait()
        taken = read(message, self._plain_name(message.topic), time.monotonic())
        if epoch != self._epoch:
            self._settle.give_back(taken)
            return
        if self._prepare is not None and taken.item is not None:
            with about([taken]):
                taken.preparing = asyncio.ensure_future(self._prepare(taken.item))
            taken.preparing.add_done_callback(_retrieve)
        self._pending.append(taken)
        if len(self._pending) >= self._wanted:
            self._arrived.set()

    def let_go(self) -> None:
        """Partitions may go: give back what is not being processed, stop waiting for anything."""
        self._epoch += 1
        while self._pending:
            self._settle.give_back(self._pending.popleft())
        self._room.set()
        self._trial.let_go.set()

    async def work(self) -> None:
        """Try batch after batch. Runs as long as the worker; what it raises is a fault of ours."""
        while True:
            epoch, batch = await self._gather()
            self._trial.cancelled = lambda epoch=epoch: epoch != self._epoch  # type: ignore[misc]
            self._trial.let_go.clear()
            if epoch != self._epoch:
                self._trial.let_go.set()
            if self._marks.suspect(batch[0].message):
                await self._alone(batch[0])
                continue
            await self._put(await self._resolve(batch))

    async def settle(self) -> None:
        """Settle what was tried, in order, several batches together when they are there."""
        while True:
            batches = [await self._tried.get()]
            while not self._tried.empty():
                batches.append(self._tried.get_nowait())
            resolved = [one for batch in batches for one in batch]
            await self._settle.settle(resolved)
            self._unsettled -= len(batches)
            self._settled.set()

    async def _alone(self, taken: Taken) -> None:
        """An event that may have killed its worker: nothing beside it, and its attempt on record."""
        await self._all_settled()
        message = taken.message
        try:
            dead = await self._marks.begin(message)
        except KafkaError as error:
            log.warning("attempt not on record, not made", problem=str(error))
            await self._put([Resolved(taken)])
            return
        if dead is not None:
            await self._put([self._settle.resolve(taken, dead)])
        else:
            self._trial.aside = partial(self._aside, message)
            resolved = await self._resolve([taken])
            self._trial.aside = None
            if resolved[0].outcome is None:
                await self._marks.withdraw(message)
            await self._put(resolved)
        await self._all_settled()
        await self._marks.end()

    async def _aside(self, message: Message, waiting: bool) -> bool:
        """A worker that ends while its event waits for a dependency did not die of the event."""
        if waiting:
            await self._marks.withdraw(message)
            return True
        try:
            return await self._marks.begin(message) is None
        except KafkaError:
            return False  # the partition has gone

    async def _resolve(self, batch: Sequence[Taken]) -> list[Resolved]:
        self._state.metrics.observe("telltale_batch_events", len(batch), self._state.stage)
        self._state.at_work = True
        try:
            endings = await self._trial.endings(batch)
        finally:
            self._state.at_work = False
        return [self._settle.resolve(t, e) for t, e in zip(batch, endings, strict=True)]

    async def _put(self, resolved: list[Resolved]) -> None:
        self._unsettled += 1
        await self._tried.put(resolved)

    async def _all_settled(self) -> None:
        while self._unsettled:
            self._settled.clear()
            await self._settled.wait()

    async def _gather(self) -> tuple[int, list[Taken]]:
        """The next batch: full, or what came within ``max_wait_s`` or until arrivals pause.

        Where the event before was alone too and is done, this one waits for nobody: load is low, and
        if a burst begins, what comes meanwhile is the next batch.
        """
        while True:
            await self._until_arrived(1, None)
            pause_s = self._flood.pause_s()
            if pause_s:
                await self._pause(pause_s)
            if self._pending and self._pending[0].message.generation_id != self._ready_for:
                await self._read_marks(self._pending[0].message.generation_id)
            if not self._pending:
                continue
            most = self._most()
            until = self._pending[0].at + self._batch.max_wait_s
            if self._last_cut == 1 and not self._unsettled:
                until = 0.0
            while 0 < (before := len(self._pending)) < most and time.monotonic() < until:
                if await self._until_arrived(most, QUIET_S) or len(self._pending) == before:
                    break
            if self._pending:
                return self._epoch, self._cut(most)

    def _most(self) -> int:
        suspect = self._marks.suspect(self._pending[0].message)
        return 1 if suspect or self._flood.probing else self._batch.max_events

    def _cut(self, most: int) -> list[Taken]:
        batch = [self._pending.popleft()]
        while self._pending and len(batch) < most:
            if self._marks.suspect(self._pending[0].message):
                break
            batch.append(self._pending.popleft())
        self._room.set()
        self._last_cut = len(batch)
        return batch

    async def _until_arrived(self, wanted: int, within_s: float | None) -> bool:
        self._wanted = wanted
        while len(self._pending) < wanted:
            self._arrived.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._arrived.wait()
            except TimeoutError:
                return False
        return True

    async def _pause(self, pause_s: float) -> None:
        self._trial.let_go.clear()
        try:
            await asyncio.wait_for(self._trial.let_go.wait(), pause_s)
        except TimeoutError:
            return

    async def _read_marks(self, generation: int) -> None:
        if generation == self._hold.generation:
            await self._marks.read()
        self._ready_for = generation


def _retrieve(future: asyncio.Future[object]) -> None:
    """The error of a prepared event that is given back is nobody's: do not let asyncio report it."""
    if not future.cancelled():
        future.exception()
