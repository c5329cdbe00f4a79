"""One Faust app a stage, with the settings under which nothing is lost.

In: a stage, ``Settings``, and what the process shares (metrics, tracing). Out: ``StageApp``, whose
agent takes raw bytes and hands them to a ``Lane``. Everything Faust-specific that delivery relies
on is in this file, ``transport.py``, ``hold.py``, ``marks.py`` and ``health.py``, and was tried with the
release that is pinned. Raises ``UsageError`` when no broker is named.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import faust
import structlog

from telltale.delivery import kafka
from telltale.delivery.backoff import away_pause_s
from telltale.delivery.deadletter import HEADROOM_BYTES
from telltale.delivery.flood import Flood
from telltale.delivery.hold import Hold
from telltale.delivery.lane import Lane, Prepare, ahead
from telltale.delivery.marks import Marks
from telltale.delivery.metrics import Metrics
from telltale.delivery.sending import Sender
from telltale.delivery.settle import Settle
from telltale.delivery.state import State
from telltale.delivery.tracing import Tracing
from telltale.delivery.transport import Transport
from telltale.errors import DependencyAway
from telltale.events import Event
from telltale.settings import Settings
from telltale.stages.contract import Item, Outcome, Stage

MESSAGE_BYTES = 1024 * 1024  # the broker's default limit on a message
PREPARERS = 2  # decoding pictures releases the interpreter lock; more only wait for it
HEARTBEAT_S = 1.0
HOUR_S = 3600.0
METADATA_MS = 30_000

log = structlog.get_logger()

T = TypeVar("T")


class StageApp(faust.App):  # type: ignore[misc]
    """A Faust app that gives back before it waits, and says farewell after."""

    lane: Lane
    marks: Marks
    condition: State

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """None is needed: there are no tables."""

    def on_init(self) -> None:
        """As it comes."""
        super().on_init()
        self._handed_over = asyncio.Event()

    async def _stop_consumer(self) -> None:
        try:
            await super()._stop_consumer()
        finally:
            self._handed_over.set()

    async def _on_partitions_revoked(self, revoked: Any) -> None:
        """As it comes, and when the worker is stopping anyway, the end of that hand-over."""
        if self.should_stop:
            await self._handed_over.wait()
        else:
            await super()._on_partitions_revoked(revoked)

    def _on_rebalance_when_stopped(self) -> None:
        """As it comes the client is closed here, and the last commit, still to come, is tried for ever."""

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        # called whenever partitions are about to go: in a rebalance, and when stopping
        with structlog.contextvars.bound_contextvars(stage=self.condition.stage):
            self.lane.let_go()
            await super()._consumer_wait_empty(consumer, logger)
            await self.marks.release()


class Bench:
    """A stage's one thread for ``open``, ``process`` and ``close``, and its preparers."""

    def __init__(self, stage: Stage, state: State) -> None:
        self._stage, self._state = stage, state
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=stage.name)
        self._preparers = ThreadPoolExecutor(PREPARERS, thread_name_prefix=f"{stage.name}-prepare")

    @property
    def prepare(self) -> Prepare | None:
        """``prepare`` off the loop; None if the stage leaves it as the contract has it."""
        if getattr(type(self._stage), "prepare", Stage.prepare) is Stage.prepare:
            return None
        return self._prepare

    async def _prepare(self, item: Item[Event]) -> object:
        return await _off_loop(self._preparers, self._stage.prepare, item)

    async def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """``process`` in the stage's thread."""
        return await _off_loop(self._worker, self._stage.process, items)

    async def open(self) -> None:
        """``open`` in the stage's thread, again and again while a dependency is away."""
        failures = 0
        while True:
            try:
                await _off_loop(self._worker, self._stage.open)
            except DependencyAway as away:
                failures += 1
                self._state.dependency(away.dependency, away.problem)
                pause_s = away_pause_s(failures, away.retry_after_s)
                log.warning(
                    "dependency away, the stage does not open", dependency=away.dependency,
                    problem=away.problem, attempt=failures, retry_in_s=round(pause_s, 2),
                )  # fmt: skip
                await asyncio.sleep(pause_s)
                continue
            for name in self._state.away:
                self._state.dependency(name, None)
            _keep()
            self._state.opened = True
            return

    async def close(self) -> None:
        """``close`` in the stage's thread; the threads end."""
        if self._state.opened:
            await _off_loop(self._worker, self._stage.close)
        self._worker.shutdown(wait=False)
        self._preparers.shutdown(wait=False, cancel_futures=True)


async def _off_loop(threads: Executor, work: Callable[..., T], *given: object) -> T:
    """Run there with what is bound here, so that what is logged there says whose line it is."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    return await loop.run_in_executor(threads, context.run, work, *given)


def _keep() -> None:
    """Take what is loaded by now out of every garbage collection to come.

    Faust collects again and again while partitions move. Over the modules and weights of a worker that
    takes half a second, in which no thread of the process goes on.
    """
    gc.collect()
    gc.freeze()


def stage_app(
    stage: Stage,
    settings: Settings,
    metrics: Metrics,
    tracing: Tracing,
    fail: Callable[[str, BaseException], None],
) -> StageApp:
    """The Faust app of a stage. ``fail`` is told of a fault of ours and ends the process."""
    state = State(stage.name, metrics, stage.needs)
    app = StageApp(kafka.group_name(settings, stage.name), **_faust_settings(stage, settings))
    hold = Hold(app)
    bench = Bench(stage, state)
    flood = Flood(state, settings.flood_last, settings.flood_share)
    sender = Sender(app, lambda problem: state.dependency("kafka", problem))
    app.condition = state
    app.marks = Marks(app, settings.attempts, window=ahead(stage.batch))
    app.lane = Lane(
        stage.batch,
        lambda name: kafka.plain_name(settings, name),
        bench.process,
        bench.prepare,
        settings.attempts,
        hold,
        app.marks,
        Settle(
            stage.name, stage.version, settings.topic_prefix, sender, hold, state, flood, tracing
        ),
        flood,
        state,
    )
    names = [kafka.topic_name(settings, event.topic) for event in stage.reads]
    topic = app.topic(*names, value_type=bytes, key_type=bytes, value_serializer="raw")
    app.agent(topic, concurrency=1, name=stage.name)(_agent(app, bench, fail))
    app.on_before_shutdown.connect(_closing(bench), weak=False)
    return app


def _agent(
    app: StageApp, bench: Bench, fail: Callable[[str, BaseException], None]
) -> Callable[[Any], Any]:
    async def agent(stream: Any) -> None:
        structlog.contextvars.bind_contextvars(stage=app.condition.stage)
        try:
            await bench.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(app.lane.work())
                tasks.create_task(app.lane.settle())
                async for event in stream.noack().events():
                    await app.lane.take(event.message)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            # leaving the agent would acknowledge the event: the process ends instead
            fail(app.condition.stage, error)

    return agent


def _closing(bench: Bench) -> Callable[..., Any]:
    async def close(*_: object, **__: object) -> None:
        await bench.close()

    return close


def _faust_settings(stage: Stage, settings: Settings) -> dict[str, Any]:
    buffered = ahead(stage.batch)
    servers = ";".join(f"kafka://{server}" for server in kafka.bootstrap(settings).split(","))
    return {
        "broker": servers,
        "broker_credentials": kafka.faust_credentials(settings),
        "web_enabled": False,
        "autodiscover": False,
        "datadir": settings.home / "faust",
        "loghandlers": logging.getLogger().handlers,
        # topics are made by 'telltale topics create', with the partitions they need
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "table_standby_replicas": 0,
        # with larger buffers and a slow stage polling stops, and the group drops the worker
        "stream_buffer_maxsize": buffered,
        "broker_max_poll_records": buffered,
        "broker_max_poll_interval": settings.max_poll_interval_s,
        "stream_processing_timeout": 24 * HOUR_S,  # the watchdog is ours
        "broker_session_timeout": settings.session_timeout_s,
        # a heartbeat's answer is what tells a worker that partitions are to move
        "broker_heartbeat_interval": min(HEARTBEAT_S, settings.session_timeout_s / 4),
        # a member that is alive and does not join again holds up the others for this long
        "broker_rebalance_timeout": settings.rebalance_timeout_s,
        # a request to join is answered when the rebalance is over: giving up before begins another
        "broker_request_timeout": max(90.0, settings.rebalance_timeout_s + 30.0),
        # how soon partitions that were added are seen; the client's default is five minutes
        "consumer_metadata_max_age_ms": METADATA_MS,
        "producer_metadata_max_age_ms": METADATA_MS,
        "broker_commit_interval": 1.0,
        "broker_commit_livelock_soft_timeout": 24 * HOUR_S,
        "stream_wait_empty": True,
        "consumer_auto_offset_reset": "earliest",
        "producer_acks": -1,
        # the client's default of 16 KiB holds one verdict: every message was a batch of its own
        "producer_max_batch_size": MESSAGE_BYTES // 4,
        "producer_max_request_size": MESSAGE_BYTES + HEADROOM_BYTES,
        "producer_request_timeout": max(
            60.0, 2 * settings.stuck_s
        ),  # waits for a broker that restarts
    }
