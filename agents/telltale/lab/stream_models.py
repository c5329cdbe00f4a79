"""Images a second with real models: the stream, its models alone, its stages alone, a plain Faust app.

In: connected settings with a database of their own, JPEG pictures, a ``Plan``. Out: figures with their runs.
As many processes of each, with as many torch threads each; no two see the same bytes. Ratios are taken within a
round, so that a noisy machine disturbs both sides alike. Raises what the stages raise, and ``DependencyAway``
when events stop coming.
"""

from __future__ import annotations

import io
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from PIL import Image

from telltale import topics
from telltale.app import Wiring
from telltale.events import ImageUploaded
from telltale.lab.stream_plan import EXPLAINED, QUIET_S, WARM_UP, Figures, Plan, Say, percentiles
from telltale.lab.stream_stored import stored
from telltale.lab.stream_traffic import (
    WHEN,
    Arrivals,
    Uploads,
    arrivals,
    evenly,
    message_bytes,
    sample,
)
from telltale.lab.stream_world import Child, World, new_world
from telltale.settings import Settings
from telltale.stages.intake import STORED

WARM_UP_STREAM = 24  # two a partition: every process of a stream gets some
LOW = 24  # pictures one after another, for latency


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


def with_models(
    settings: Settings,
    photographs: Sequence[bytes],
    plan: Plan,
    folder: Path,
    say: Say,
    figures: Figures,
) -> None:
    """Fill ``figures``; leaves a verdict and an explanation in ``folder`` for the plumbing."""
    runs: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as undo:
        world = undo.enter_context(new_world(settings, folder))
        plain = undo.enter_context(new_world(settings, folder))
        say("loading models for the bare loops, the stream and the naive apps")
        times = [folder / f"times-{n}" for n in range(plan.workers)]
        loops = _Loops([undo.enter_context(world.child("bare", "models")) for _ in times])
        workers = [undo.enter_context(world.child("stream", "models", str(t))) for t in times]
        for _ in times:
            undo.enter_context(plain.child("naive", "models"))
        for worker in workers:
            worker.wait_ready()
        both = [_Driven(undo, w) for w in (world, plain)]
        # weights, caches and kernels of every process are in place before the first run
        loops.seconds(pictures(photographs, WARM_UP * plan.workers, folder / "warm", "warm"))
        for n, driven in enumerate(both):
            mark = f"warm-{n}"
            driven.seconds(pictures(photographs, WARM_UP_STREAM, folder / mark, mark))
        say("all warm")
        for run in range(plan.runs):
            mark = f"bare-{run}"
            took = loops.seconds(pictures(photographs, plan.pictures, folder / mark, mark))
            for name, seconds in took.items():
                runs[name].append(plan.pictures / seconds)
            for name, driven in zip(("stream", "naive"), both, strict=True):
                # bytes that nobody has seen: what one has cached must not help the next
                mark = f"{name}-{run}"
                files = pictures(photographs, plan.pictures, folder / mark, mark)
                runs[name].append(plan.pictures / driven.seconds(files))
            shown = ", ".join(f"{k} {v[-1]:.3f} images/s" for k, v in runs.items())
            say(f"run {run + 1}: {shown}")
        _rates(figures, runs)
        files = pictures(photographs, LOW, folder / "low", "low")
        added = both[0].added_ms(files, times)
        figures["added_latency_with_models_ms"] = percentiles(added)
        figures["runs"]["added_latency_with_models_ms"] = [round(ms, 2) for ms in added]
        figures["stage_seconds_per_picture"] = {
            stage: round(seconds / LOW, 4)
            for stage, seconds in worked_by_stage(times, "low-").items()
        }
        figures["message_bytes"] = message_bytes(world.settings, [t.name for t in topics.TOPICS])
        figures["stored"] = stored(settings)
        for name, topic in (("verdict", topics.ISSUED), ("explanation", topics.EXPLAINED)):
            (folder / f"{name}.json").write_bytes(sample(world.settings, topic.name) or b"")


class _Loops:
    """Processes that hold the stages and the models, side by side."""

    def __init__(self, processes: Sequence[Child]) -> None:
        self._processes = processes

    def seconds(self, files: Sequence[Path]) -> dict[str, float]:
        """Until the last of them is through its share: of the bare model calls, and of the stages."""
        folders = []
        for n in range(len(self._processes)):
            folder = files[0].parent / f"share-{n}"
            folder.mkdir()
            for file in files[n :: len(self._processes)]:
                file.rename(folder / file.name)
            folders.append(str(folder))
        stages = self._all(folders)
        return {"bare": self._all([""] * len(folders)), "stages": stages}

    def _all(self, lines: Sequence[str]) -> float:
        with ThreadPoolExecutor(len(lines)) as pool:
            return max(pool.map(Child.ask, self._processes, lines))


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
        self._partitions = world.settings.kafka_partitions

    def seconds(self, files: Sequence[Path]) -> float:
        """From the first upload to the last explanation, all sent at once, evenly over partitions."""
        names = evenly(f"{files[0].parent.name}-", len(files), self._partitions)
        sent = self._uploads.send([self._upload(f, n) for f, n in zip(files, names, strict=True)])
        came = self._arrivals.until(sent, EXPLAINED, QUIET_S)
        return max(came.values()) - min(sent.values())

    def added_ms(self, files: Sequence[Path], times: Sequence[Path]) -> list[float]:
        """One after another: time from upload to explanation that no stage was at work, ms."""
        added = []
        for path in files:
            upload = self._upload(path, f"low-{path.stem}")
            sent = self._uploads.send([upload])
            came = self._arrivals.until(sent, EXPLAINED, QUIET_S)
            took = came[upload.image_id] - sent[upload.image_id]
            added.append((took - worked_s(times, upload.image_id)) * 1000)
        return added

    def _upload(self, path: Path, image_id: str) -> ImageUploaded:
        uri = STORED + self._blobs.put(path.read_bytes())
        return ImageUploaded(image_id=image_id, uploaded_at=WHEN, uri=uri)


def worked_s(times: Sequence[Path], image_id: str) -> float:
    """Seconds that the stages before the explanation worked on an image."""
    lines = (json.loads(line) for path in times for line in path.read_text().splitlines())
    return sum(float(s) for stage, images, s in lines if image_id in images and stage != "record")


def worked_by_stage(times: Sequence[Path], prefix: str) -> dict[str, float]:
    """Seconds that each stage worked on the images whose ids begin so, by the share of a batch."""
    found: dict[str, float] = defaultdict(float)
    for path in times:
        for line in path.read_text().splitlines():
            stage, images, seconds = json.loads(line)
            mine = sum(image.startswith(prefix) for image in images)
            found[stage] += float(seconds) * mine / len(images)
    return dict(found)
