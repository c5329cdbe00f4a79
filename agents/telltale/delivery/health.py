"""``/healthz``, ``/readyz`` and ``/metrics`` of a worker, on loopback.

In: the apps of the process. Out: JSON by stage and Prometheus text; 503 where the answer is no. An
idle worker is healthy, a stuck one is not; a worker is ready once its stages are open and in their
groups. Lag is read from the consumers every second, and the ends of the partitions are asked of the
broker besides: a consumer that has stopped fetching does not know that anything waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiohttp import web
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from mode import Service

from telltale.delivery.app import StageApp
from telltale.delivery.metrics import Metrics
from telltale.settings import Settings

EVERY_S = 1.0
ASK_EVERY_S = 5.0  # the broker, for the ends of partitions
ASK_S = 10.0  # a busy broker may take a while; then it is taken to be away
SILENT = f"no answer in {ASK_S:g} s"

Bounds = Mapping[TopicPartition, tuple[int, int]]
"""First and next offset by partition."""

log = structlog.get_logger()


class Health(Service):  # type: ignore[misc]
    """Serves the three pages and keeps lag up to date."""

    def __init__(self, apps: Sequence[StageApp], metrics: Metrics, settings: Settings) -> None:
        super().__init__()
        self._apps, self._metrics = apps, metrics
        self._host, self._port = settings.worker_host, settings.worker_port
        self._stuck_s = settings.stuck_s
        self._runner: web.AppRunner | None = None

    async def on_start(self) -> None:
        """Open the port."""
        site = web.Application()
        site.router.add_get("/healthz", self._healthz)
        site.router.add_get("/readyz", self._readyz)
        site.router.add_get("/metrics", self._metrics_page)
        self._runner = web.AppRunner(site, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        port = self._runner.addresses[0][1]
        log.info("worker pages", url=f"http://{self._host}:{port}/healthz")
        self.add_future(self._watch())

    async def on_stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _watch(self) -> None:
        asked, bounds = time.monotonic(), dict[str, Bounds]()
        while not self.should_stop:
            if time.monotonic() - asked > ASK_EVERY_S:
                found = await asyncio.gather(*(_bounds(app) for app in self._apps))
                bounds = {a.condition.stage: b for a, b in zip(self._apps, found, strict=True)}
                asked = time.monotonic()
            for app in self._apps:
                _measure(app, self._metrics, bounds.get(app.condition.stage, {}))
            await asyncio.sleep(EVERY_S)

    async def _healthz(self, _: web.Request) -> web.Response:
        stages = {app.condition.stage: app.condition.public() for app in self._apps}
        healthy = all(app.condition.stuck_for_s() <= self._stuck_s for app in self._apps)
        return _page(healthy, stages)

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = {app.condition.stage: app.condition.opened and _joined(app) for app in self._apps}
        return _page(all(ready.values()), ready)

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), content_type="text/plain")


def _page(good: bool, body: object) -> web.Response:
    return web.json_response({"ok": good, "stages": body}, status=200 if good else 503)


def _client(app: StageApp) -> Any:
    try:
        return app.consumer._thread._ensure_consumer()
    except (ConsumerNotStarted, AttributeError):
        return None


def _joined(app: StageApp) -> bool:
    coordinator = getattr(_client(app), "_coordinator", None)  # none while the client starts
    return coordinator is not None and coordinator.generation > 0


async def _bounds(app: StageApp) -> Bounds:
    """Where the partitions held begin and end, by the broker; empty when it does not say."""
    client, state = _client(app), app.condition
    if app.should_stop:  # its client's thread may end at any moment
        return {}
    if client is None or not (partitions := app.consumer.assignment()):
        return {}
    # not through Faust's queue to the client's thread: a broker that is away would keep it busy
    asked = asyncio.run_coroutine_threadsafe(
        _ask(client, list(partitions)), app.consumer._thread.thread_loop
    )
    try:
        found = await asyncio.wait_for(asyncio.wrap_future(asked), ASK_S)
    except (TimeoutError, KafkaError):
        if "kafka" not in state.away:
            state.dependency("kafka", SILENT)
        return {}
    if state.away.get("kafka") == SILENT:  # anything else is the sender's to take back
        state.dependency("kafka", None)
    return found


async def _ask(client: Any, partitions: list[TopicPartition]) -> Bounds:
    starts = await client.beginning_offsets(partitions)
    ends = await client.end_offsets(partitions)
    return {tp: (starts[tp], ends[tp]) for tp in partitions}


def _measure(app: StageApp, metrics: Metrics, bounds: Bounds) -> None:
    """Lag of the partitions held: the end of each, less what is committed. And membership."""
    client, state = _client(app), app.condition
    if client is None:
        return
    if _joined(app):
        state.outside_since = None
    elif state.outside_since is None:
        state.outside_since = time.monotonic()
    lag = 0
    partitions = app.consumer.assignment()
    for tp in partitions:
        committed = app.consumer._committed_offset.get(tp)
        start, end = bounds.get(tp, (None, 0))
        if committed is None and not app.rebalancing:
            committed = start  # nothing of this partition was ever finished
        # what a fetch said is the newer of the two, as long as anything is fetched
        end = max(client.highwater(tp) or 0, end)
        if committed is not None:
            # what retention removed before anybody read it waits for nobody
            lag += max(0, end - max(committed, start or 0))
    if not state.opened or (state.lag == 0 and state.pending == 0):
        state.progress()
    state.lag, state.partitions = lag, len(partitions)
    metrics.set("telltale_lag_events", lag, state.stage)
    metrics.set("telltale_partitions", len(partitions), state.stage)
    metrics.set("telltale_pending_events", state.pending, state.stage)
