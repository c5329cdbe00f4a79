"""The measurements of ``telltale bench stream``, side by side in one run.

In: connected settings, JPEG pictures, a ``Plan``. Out: a dictionary of figures with all their runs, as
``--json`` prints it. Ratios are taken within a round, so that a noisy machine disturbs both sides alike.
Raises what the stages raise, and ``DependencyAway`` when events stop coming.
"""

from __future__ import annotations

import io
import json
import os
import platform
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from telltale import topics
from telltale.app import Wiring
from telltale.errors import DependencyAway
from telltale.events import ImageUploaded
from telltale.lab.stream_stored import stored
from telltale.lab.stream_traffic import (
    WHEN,
    Arrivals,
    Uploads,
    arrivals,
    message_bytes,
    sample,
)
from telltale.lab.stream_world import Child, World, new_world, own_database
from telltale.settings import Settings
from telltale.stages.intake import STORED

WARM_UP = 2  # pictures before the first run: weights, caches and kernels are then in place
WARM_UP_EVENTS = 500
HANDLED = 8  # events a picture costs: seven stages read one each, record reads two
QUIET_S = 300.0  # a stream from which nothing has come for this long is broken
EXPLAINED = topics.EXPLAINED.name
Say = Callable[[str], object]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    runs: int
    pictures: int  # a run through the real models; 0 leaves them out
    events: int  # a run through empty stages
    low: int  # events one after another, for latency
    workers: int  # processes of all seven empty stages


def measure(
    settings: Settings, photographs: Sequence[bytes], plan: Plan, folder: Path, say: Say
) -> Figures:
    """Everything that the plan asks for."""
    figures: Figures = {
        "plan": asdict(plan),
        "machine": {
            "cpus": os.cpu_count(), "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(), "load_before": round(os.getloadavg()[0], 2),
        },
        "profile": settings.profile, "batch_events": settings.batch_events, "runs": {},
    }  # fmt: skip
    if plan.pictures:
        with own_database(settings, folder) as own:
            _models(own, photographs, plan, folder, say, figures)
    _plumbing(settings, plan, folder, say, figures)
    return figures


def pictures(photographs: Sequence[bytes], count: int, folder: Path, mark: str) -> list[Path]:
    """``count`` JPEG files of those photographs. No two have the same bytes, so that no cache of
    hashes or embeddings helps, and their pixels are those of the photographs."""
    folder.mkdir(parents=True)
    files = []
    for n in range(count):
        kept = io.BytesIO()
        with Image.open(io.BytesIO(photographs[n % len(photographs)])) as picture:
            picture.convert("RGB").save(kept, "JPEG", quality=92, comment=f"{mark}-{n}".encode())
        path = folder / f"{n:05}.jpg"
        path.write_bytes(kept.getvalue())
        files.append(path)
    return files


def _models(
    settings: Settings,
    photographs: Sequence[bytes],
    plan: Plan,
    folder: Path,
    say: Say,
    figures: Figures,
) -> None:
    times = folder / "times"
    with ExitStack() as undo:
        world = undo.enter_context(new_world(settings, folder))
        plain = undo.enter_context(new_world(settings, folder))
        say("loading models for the bare loop, the stream and the naive app")
        bare = undo.enter_context(world.child("bare", "models"))
        stream = undo.enter_context(world.child("stream", "models", str(times)))
        undo.enter_context(plain.child("naive", "models"))
        stream.wait_ready()
        both = [_Driven(undo, w) for w in (world, plain)]
        files = pictures(photographs, WARM_UP, folder / "warm", "warm")
        bare.ask(str(folder / "warm"))
        for driven in both:
            driven.seconds(files)
        say("all warm")
        runs: dict[str, list[float]] = defaultdict(list)
        for run in range(plan.runs):
            pictures(photographs, plan.pictures, folder / f"bare-{run}", f"bare-{run}")
            took = bare.ask(str(folder / f"bare-{run}"))
            runs["bare"].append(plan.pictures / took["bare_s"])
            runs["stages"].append(plan.pictures / took["stages_s"])
            for name, driven in zip(("stream", "naive"), both, strict=True):
                # bytes that nobody has seen: what one has cached must not help the next
                mark = f"{name}-{run}"
                files = pictures(photographs, plan.pictures, folder / mark, mark)
                runs[name].append(plan.pictures / driven.seconds(files))
            say(
                f"run {run + 1}: " + ", ".join(f"{k} {v[-1]:.3f} images/s" for k, v in runs.items())
            )
        files = pictures(photographs, plan.pictures, folder / "low", "low")
        added = both[0].added_ms(files, times)
        _rates(figures, runs)
        figures["added_latency_with_models_ms"] = percentiles(added)
        figures["runs"]["added_latency_with_models_ms"] = [round(ms, 2) for ms in added]
        figures["message_bytes"] = message_bytes(world.settings, [t.name for t in topics.TOPICS])
        figures["stored"] = stored(settings)
        for name, topic in (("verdict", topics.ISSUED), ("explanation", topics.EXPLAINED)):
            (folder / f"{name}.json").write_bytes(sample(world.settings, topic.name) or b"")


def _rates(figures: Figures, runs: dict[str, list[float]]) -> None:
    figures["images_per_s"] = {name: round(statistics.median(v), 4) for name, v in runs.items()}
    figures["runs"]["images_per_s"] = {k: [round(x, 4) for x in v] for k, v in runs.items()}
    for name in ("bare", "stages", "naive"):
        ratios = [s / other for s, other in zip(runs["stream"], runs[name], strict=True)]
        figures[f"ratio_to_{name}"] = round(statistics.median(ratios), 4)
        figures["runs"][f"ratio_to_{name}"] = [round(r, 4) for r in ratios]


class _Driven:
    """A stream that pictures are sent into and explanations come out of."""

    def __init__(self, undo: ExitStack, world: World) -> None:
        self._uploads = Uploads(world.settings)
        self._arrivals: Arrivals = undo.enter_context(arrivals(world.settings, topics.EXPLAINED))
        self._blobs = Wiring(world.settings).blobs
        self._sent = 0

    def seconds(self, files: Sequence[Path]) -> float:
        """From the first upload to the last explanation, all sent at once."""
        sent = self._uploads.send([self._upload(f) for f in files])
        came = self._arrivals.until(sent, EXPLAINED, QUIET_S)
        return max(came.values()) - min(sent.values())

    def added_ms(self, files: Sequence[Path], times: Path) -> list[float]:
        """One after another: time from upload to explanation that no stage was at work, ms."""
        added = []
        for path in files:
            upload = self._upload(path)
            sent = self._uploads.send([upload])
            came = self._arrivals.until(sent, EXPLAINED, QUIET_S)
            took = came[upload.image_id] - sent[upload.image_id]
            added.append((took - worked_s(times, upload.image_id)) * 1000)
        return added

    def _upload(self, path: Path) -> ImageUploaded:
        self._sent += 1
        uri = STORED + self._blobs.put(path.read_bytes())
        return ImageUploaded(image_id=f"{path.stem}-{self._sent}", uploaded_at=WHEN, uri=uri)


def worked_s(times: Path, image_id: str) -> float:
    """Seconds that the stages before the explanation worked on an image."""
    lines = (json.loads(line) for line in times.read_text().splitlines())
    return sum(float(s) for stage, images, s in lines if image_id in images and stage != "record")


def _plumbing(settings: Settings, plan: Plan, folder: Path, say: Say, figures: Figures) -> None:
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
        undo.enter_context(world.child("naive", "empty"))
        uploads, out = (
            Uploads(world.settings),
            undo.enter_context(arrivals(world.settings, topics.EXPLAINED)),
        )
        _through(uploads, out, [], "warm", WARM_UP)
        return [
            plan.events / _through(uploads, out, [], f"run-{run}", plan.events)
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
    while children and (recorded := _recorded(children)) < wanted:
        if time.perf_counter() - last > QUIET_S:
            raise DependencyAway(
                "stream", f"{wanted - recorded:.0f} events were not recorded in {QUIET_S:g} s"
            )
        time.sleep(0.01)
    return (time.perf_counter() if children else last) - min(sent.values())


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
    """Events that record has finished, by the workers' own metrics."""
    lines = [line for c in children for line in (c.page("metrics") or b"").decode().splitlines()]
    wanted = 'telltale_outcomes_total{outcome="answered",stage="record"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile (nearest rank, so that both were really seen)."""
    ranked = sorted(values)
    return {
        f"p{p}": round(ranked[min(len(ranked) - 1, -(-len(ranked) * p // 100) - 1)], 2)
        for p in (50, 99)
    }
