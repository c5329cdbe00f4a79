"""The stream with empty models: events a second, latency of one event at a time, and plain Faust apps.

Stream and plain apps have as many processes, and are through when record has finished with the last upload.
In: connected settings, a ``Plan``. Out: figures with their runs. Raises ``DependencyAway`` when events stop
coming.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from telltale import topics
from telltale.errors import DependencyAway
from telltale.events import ImageUploaded
from telltale.lab.stream_plan import EXPLAINED, NAIVE, QUIET_S, Figures, Plan, Say, percentiles
from telltale.lab.stream_traffic import WHEN, Arrivals, Uploads, arrivals
from telltale.lab.stream_world import Child, new_world, wait_shared
from telltale.settings import Settings
from telltale.stages.intake import STORED

WARM_UP_EVENTS = 500
HANDLED = 8  # events a picture costs: seven stages read one each, record reads two


def plumbing(settings: Settings, plan: Plan, folder: Path, say: Say, figures: Figures) -> None:
    """Fill ``figures``; ``folder`` holds the sections of a verdict where there were models."""
    empty = _flood(settings, "empty", plan, folder, say)
    figures["plumbing_events_per_s"] = round(statistics.median(empty["events_per_s"]), 1)
    figures["plumbing_cpu_us_per_event_per_stage"] = round(statistics.median(empty["cpu_us"]), 1)
    figures["runs"]["plumbing_events_per_s"] = [round(r, 1) for r in empty["events_per_s"]]
    figures["runs"]["plumbing_cpu_us_per_event_per_stage"] = [round(r, 1) for r in empty["cpu_us"]]
    say(f"empty models: {figures['plumbing_events_per_s']} events/s through all seven stages")
    by_run = [percentiles(low) for low in empty["low"]]
    figures["added_latency_ms"] = {
        p: round(statistics.median(r[p] for r in by_run), 2) for p in ("p50", "p99")
    }
    figures["runs"]["added_latency_ms"] = [
        {**r, "all": [round(ms, 2) for ms in low]}
        for r, low in zip(by_run, empty["low"], strict=True)
    ]
    if plan.pictures:
        filled = _flood(settings, str(folder), plan, folder, say)
        figures["plumbing_filled_events_per_s"] = round(
            statistics.median(filled["events_per_s"]), 1
        )
        figures["runs"]["plumbing_filled_events_per_s"] = [
            round(r, 1) for r in filled["events_per_s"]
        ]
    naive = _naive_flood(settings, plan, folder)
    figures["plumbing_naive_processes"] = plan.workers
    figures["plumbing_naive_events_per_s"] = round(statistics.median(naive), 1)
    figures["runs"]["plumbing_naive_events_per_s"] = [round(r, 1) for r in naive]


def _flood(
    settings: Settings, stages: str, plan: Plan, folder: Path, say: Say
) -> dict[str, list[Any]]:
    """Events a second through workers of empty stages, their processor time, and latency when idle."""
    found: dict[str, list[Any]] = defaultdict(list)
    with ExitStack() as undo:
        world = undo.enter_context(new_world(settings, folder))
        children = [undo.enter_context(world.child("stream", stages)) for _ in range(plan.workers)]
        for child in children:
            child.wait_ready()
        uploads, out = (
            Uploads(world.settings),
            undo.enter_context(arrivals(world.settings, topics.EXPLAINED)),
        )
        _through(uploads, out, children, "warm", WARM_UP_EVENTS)
        for run in range(plan.runs):
            before = sum(child.cpu_s() for child in children)
            seconds = _through(uploads, out, children, f"run-{run}", plan.events)
            cpu_s = sum(child.cpu_s() for child in children) - before
            found["events_per_s"].append(plan.events / seconds)
            found["cpu_us"].append(cpu_s / plan.events / HANDLED * 1e6)
            say(
                f"{'empty' if stages == 'empty' else 'filled'} stages, run {run + 1}:"
                f" {plan.events / seconds:.0f} events/s, {found['cpu_us'][-1]:.0f} µs of processor an event a stage"
            )
            found["low"].append(_one_by_one(uploads, out, f"low-{run}", plan.low))
    return found


def _naive_flood(settings: Settings, plan: Plan, folder: Path) -> list[float]:
    with ExitStack() as undo:
        world = undo.enter_context(new_world(settings, folder))
        children = [undo.enter_context(world.child("naive", "empty")) for _ in range(plan.workers)]
        # before anything is sent: a rebalance amid a run would be measured too
        wait_shared(world.settings, NAIVE, plan.workers)
        uploads, out = (
            Uploads(world.settings),
            undo.enter_context(arrivals(world.settings, topics.EXPLAINED)),
        )
        _through(uploads, out, children, "warm", WARM_UP_EVENTS)
        return [
            plan.events / _through(uploads, out, children, f"run-{run}", plan.events)
            for run in range(plan.runs)
        ]


def _through(
    uploads: Uploads, out: Arrivals, children: Sequence[Child], mark: str, count: int
) -> float:
    """Seconds from the first upload until all are explained and recorded."""
    before = _recorded(children)
    sent = uploads.send([_upload(f"{mark}-{n}") for n in range(count)])
    came = out.until(sent, EXPLAINED, QUIET_S)
    last = max(came.values())
    wanted = before + 2 * count
    while (recorded := _recorded(children)) < wanted:
        if time.perf_counter() - last > QUIET_S:
            raise DependencyAway(
                "stream", f"{wanted - recorded:.0f} events were not recorded in {QUIET_S:g} s"
            )
        time.sleep(0.1)
    return time.perf_counter() - min(sent.values())


def _one_by_one(uploads: Uploads, out: Arrivals, mark: str, count: int) -> list[float]:
    """Milliseconds from upload to explanation, one event in the stream at a time."""
    took = []
    pauses = random.Random(0)
    for n in range(count):
        upload = _upload(f"{mark}-{n}")
        sent = uploads.send([upload])
        came = out.until(sent, EXPLAINED, QUIET_S)
        took.append((came[upload.image_id] - sent[upload.image_id]) * 1000)
        time.sleep(pauses.uniform(0.0, 0.1))  # in step with no timer of the stream's
    return took


def _upload(image_id: str) -> ImageUploaded:
    return ImageUploaded(image_id=image_id, uploaded_at=WHEN, uri=STORED + "0" * 64)


def _recorded(children: Sequence[Child]) -> float:
    """Events that record has finished, by the processes' own metrics."""
    lines = [line for c in children for line in (c.page("metrics") or b"").decode().splitlines()]
    wanted = 'telltale_outcomes_total{outcome="answered",stage="record"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))
