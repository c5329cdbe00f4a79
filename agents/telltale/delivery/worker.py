"""Running stages: one process, one or more Faust apps, one health page, one watchdog.

In: stages and ``Settings``. Out: an exit status: 0 after a clean stop, 2 for a setting that cannot
be, 4 when a server was away at the start or the broker at the end, 70 for a fault of ours, 75 when stuck. A supervisor
should start the worker again in every case but 0 and 2.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

import mode
import structlog

from telltale.delivery.app import StageApp, stage_app
from telltale.delivery.health import Health
from telltale.delivery.logs import configure_logs
from telltale.delivery.metrics import Metrics
from telltale.delivery.topics_admin import require_topics
from telltale.delivery.tracing import tracing
from telltale.delivery.watchdog import Watchdog
from telltale.errors import DependencyAway, TelltaleError
from telltale.settings import Settings
from telltale.stages.contract import Stage

EXIT_FAULT = 70  # EX_SOFTWARE
FAREWELL_S = 15
"""So long a worker that has been told to end tries to send, to commit and to leave its group."""

log = structlog.get_logger()


def run_workers(stages: Sequence[Stage], settings: Settings) -> int:
    """Run the stages until SIGTERM or SIGINT. Returns the exit status; faults exit at once.

    Raises ``UsageError`` when a topic is missing, ``DependencyAway`` when no broker answers.
    """
    configure_logs(settings)
    asyncio.run(require_topics(settings, [e.topic for stage in stages for e in stage.reads]))
    metrics = Metrics()
    traces = tracing(settings.otlp_endpoint)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    apps = [stage_app(stage, settings, metrics, traces, fail) for stage in stages]
    health = Health(apps, metrics, settings)
    watchdog = Watchdog([app.condition for app in apps], settings.stuck_s, fail)
    worker = _worker(_Stages(apps), health, loop)
    watchdog.start()
    code: object = 0
    try:
        worker.execute_from_commandline()
    except SystemExit as done:
        code = done.code
    finally:
        watchdog.stop()
        traces.close()
    return EXIT_FAULT if code else 0


class _Stages(mode.Service):  # type: ignore[misc]
    """All stages of the process, started and stopped together.

    One after the other, the last would go on taking events until the slowest before it had finished
    its batch, and each would wait for the group of the one before when starting.
    """

    def __init__(self, apps: Sequence[StageApp]) -> None:
        super().__init__()
        self._apps = apps
        for app in apps:
            app.beacon.reattach(self.beacon)

    async def on_start(self) -> None:
        """Join all groups."""
        await asyncio.gather(*(app.maybe_start() for app in self._apps))

    async def on_stop(self) -> None:
        """Hand over all partitions; for ``FAREWELL_S`` with nothing at work, then the process ends.

        As it comes, a worker that is told to end while the broker is away waits for it without end.
        """
        leaving = asyncio.gather(*(app.stop() for app in self._apps))
        waited_s = 0
        while not leaving.done():
            await asyncio.wait([leaving], timeout=1.0)
            at_work = any(app.condition.at_work for app in self._apps)
            waited_s = 0 if at_work else waited_s + 1
            if waited_s >= FAREWELL_S:
                fail("all", DependencyAway("kafka", f"no farewell within {FAREWELL_S} s"))
        await leaving


def _worker(stages: _Stages, health: Health, loop: asyncio.AbstractEventLoop) -> mode.Worker:
    return mode.Worker(
        health, stages, loop=loop, quiet=True, redirect_stdouts=False, override_logging=False
    )


def fail(stage: str, error: BaseException) -> None:
    """End the process now. What is not acknowledged comes again; nothing else may run."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    code = error.exit_code if isinstance(error, TelltaleError) else EXIT_FAULT
    code = code if code != 1 else EXIT_FAULT
    log.critical(
        "worker ends", stage=stage, error=type(error).__name__, problem=str(error),
        exc_info=error if code == EXIT_FAULT else None,
    )  # fmt: skip
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)
