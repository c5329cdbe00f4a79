"""Trying a batch: every event ends answered, dead, or given back.

In: events taken. Out: what became of each, in order. One bad event never costs its batch: what
fails is tried again by itself, up to the attempts the settings allow. A dependency that is away is
waited for as long as it takes; ``cancelled`` ends the wait when the partitions are taken away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from telltale.delivery.backoff import away_pause_s, event_pause_s
from telltale.delivery.logs import about, fields
from telltale.delivery.state import State
from telltale.delivery.taken import Dead, Taken
from telltale.errors import DependencyAway, EventFailed, EventUnreadable
from telltale.events import Event
from telltale.stages.contract import Answered, Failed, Item, Outcome

Process = Callable[[Sequence[Item[Event]]], Awaitable[list[Outcome]]]
Ending = Answered | Dead | None
"""None: given back unfinished."""

log = structlog.get_logger()


@dataclass
class Trial:
    """Runs a stage's ``process`` (already moved off the loop) until every event has an ending."""

    process: Process
    prepare: Callable[[Item[Event]], Awaitable[object]] | None
    attempts: int
    state: State
    cancelled: Callable[[], bool]
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    aside: Callable[[bool], Awaitable[bool]] | None = None
    """Told when a wait for a dependency begins (True) and ends (False); False: do not try again."""

    async def endings(self, batch: Sequence[Taken]) -> list[Ending]:
        """One ending an event, in order."""
        endings: list[Ending] = [None] * len(batch)
        good = [i for i, taken in enumerate(batch) if taken.item is not None]
        for i, taken in enumerate(batch):
            if taken.unreadable is not None:
                endings[i] = Dead(taken.unreadable, 1, time.time())
        outcomes = await self._outcomes([batch[i] for i in good])
        # a batch that broke as a whole says nothing about its events one by one
        tried = 1 if len(good) == 1 else 0
        for i, outcome in zip(good, outcomes, strict=True):
            if isinstance(outcome, Failed):
                first = tried if isinstance(outcome, _Broken) else 1
                endings[i] = await self._alone(batch[i], outcome, first)
            else:
                endings[i] = outcome
        return endings

    async def _alone(self, taken: Taken, failed: Failed, tried: int) -> Ending:
        first_failed = time.time()
        error = failed.error
        while tried < self.attempts and not isinstance(error, EventUnreadable):
            if tried:
                await asyncio.sleep(event_pause_s(tried))
            if self.cancelled():
                return None
            self.state.metrics.count("telltale_retries_total", self.state.stage)
            log.warning(
                "event is tried again", error=type(error).__name__, problem=str(error),
                attempt=tried + 1, **fields([taken]),
            )  # fmt: skip
            taken.preparing = None
            (outcome,) = await self._outcomes([taken])
            if not isinstance(outcome, Failed):
                return outcome
            tried, error = tried + 1, outcome.error
        return Dead(error, tried, first_failed)

    async def _outcomes(self, batch: Sequence[Taken]) -> Sequence[Outcome | None]:
        """One call of the stage, repeated while a dependency is away."""
        failures = 0
        waited_for: set[str] = set()
        while batch:
            try:
                outcomes = await self._once(batch)
            except DependencyAway as away:
                failures += 1
                waited_for.add(away.dependency)
                if not await self._waited(away, failures, batch):
                    return [None] * len(batch)
                continue
            finally:
                self.state.progress()
            for name in waited_for:
                self.state.dependency(name, None)
            return outcomes
        return []

    async def _once(self, batch: Sequence[Taken]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(batch)
        items: list[tuple[int, Item[Event]]] = []
        for i, taken in enumerate(batch):
            try:
                items.append((i, await self._prepared(taken)))
            except DependencyAway:
                taken.preparing = None
                raise
            except Exception as error:
                outcomes[i] = Failed(error)
        if items:
            with about([batch[i] for i, _ in items]):
                processed = await self._process(items)
            for (i, _), done in zip(items, processed, strict=True):
                outcomes[i] = done
        for outcome in outcomes:
            if isinstance(outcome, Failed) and isinstance(outcome.error, DependencyAway):
                raise outcome.error
        return [o for o in outcomes if o is not None]

    async def _process(self, items: list[tuple[int, Item[Event]]]) -> list[Outcome]:
        started = time.monotonic()
        try:
            outcomes = await self.process([item for _, item in items])
        except DependencyAway:
            raise
        except Exception as error:
            return [_Broken(error) for _ in items]
        finally:
            took = time.monotonic() - started
            self.state.metrics.observe("telltale_process_seconds", took, self.state.stage)
        if len(outcomes) != len(items):
            problem = f"{self.state.stage} gave {len(outcomes)} outcomes for {len(items)} events"
            return [_Broken(EventFailed(problem)) for _ in items]
        return outcomes

    async def _prepared(self, taken: Taken) -> Item[Event]:
        assert taken.item is not None
        if self.prepare is None:
            return taken.item
        if taken.preparing is None:
            with about([taken]):
                taken.preparing = asyncio.ensure_future(self.prepare(taken.item))
        return Item(taken.item.event, taken.item.envelope, await taken.preparing)

    async def _waited(self, away: DependencyAway, failures: int, batch: Sequence[Taken]) -> bool:
        if self.aside is None:
            return await self._wait(away, failures, batch)
        return (
            await self.aside(True)
            and await self._wait(away, failures, batch)
            and await self.aside(False)
        )

    async def _wait(self, away: DependencyAway, failures: int, batch: Sequence[Taken]) -> bool:
        """Wait before the next attempt. False when the partitions were taken away meanwhile."""
        self.state.dependency(away.dependency, away.problem)
        pause_s = away_pause_s(failures, away.retry_after_s)
        log.warning(
            "dependency away", dependency=away.dependency, problem=away.problem,
            attempt=failures, retry_in_s=round(pause_s, 2), **fields(batch),
        )  # fmt: skip
        if not self.cancelled():
            try:
                await asyncio.wait_for(self.let_go.wait(), pause_s)
            except TimeoutError:
                return True
        return not self.cancelled()


class _Broken(Failed):
    """The call itself failed: which of its events is at fault is not known."""
