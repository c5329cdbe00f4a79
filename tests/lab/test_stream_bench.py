"""The benchmark measures what it says, cleans up after itself, and its stand-ins are shaped like the real stages."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from telltale.app import STAGES, connected
from telltale.events import Envelope, ImageUploaded
from telltale.lab.stream_bare import _Recorded
from telltale.lab.stream_empty import EMPTY, empty_stages
from telltale.lab.stream_models import pictures, worked_by_stage, worked_s
from telltale.lab.stream_plan import Figures, Plan, percentiles
from telltale.lab.stream_plumbing import HANDLED, WARM_UP_EVENTS, _recorded, plumbing
from telltale.lab.stream_traffic import WHEN, upload_envelope
from telltale.lab.stream_world import Child, World
from telltale.settings import load_settings
from telltale.stages.contract import Answered, Item
from telltale.stages.detect import Detect
from telltale.stages.explain import Explain
from telltale.stages.intake import Intake
from telltale.stages.judge import JudgeStage
from telltale.stages.record import Record
from telltale.stages.retrieve import Retrieve
from telltale.stages.verify import Verify

REAL = (Intake, Detect, Retrieve, JudgeStage, Verify, Explain, Record)


def test_empty_stages_have_the_names_and_topics_of_the_real_ones() -> None:
    empty = empty_stages(load_settings())
    assert tuple(stage.name for stage in empty) == STAGES
    assert [(s.name, s.reads) for s in empty] == [(k.name, k.reads) for k in REAL]


def test_an_upload_is_handled_eight_times_on_its_way_through_empty_stages() -> None:
    upload = ImageUploaded(image_id="a", uploaded_at=WHEN, uri="https://x.example/1")
    waiting, handled, made = [(upload, upload_envelope(upload))], 0, []
    for stage in empty_stages(load_settings()):
        for event, envelope in [w for w in waiting if isinstance(w[0], stage.reads)]:
            (outcome,) = stage.process([Item(event, envelope)])
            assert isinstance(outcome, Answered)
            handled += 1
            for answer in outcome.events:
                child = Envelope.child(envelope, answer, stage.name, stage.version, WHEN)
                waiting.append((answer, child))
                made.append(answer)
    assert handled == HANDLED
    assert {type(e).__name__ for e in made} >= {"VerdictIssued", "ExplanationReady"}
    assert next(e for e in made if hasattr(e, "verdict")).verdict == EMPTY.verdict


def test_the_bare_loop_makes_the_very_calls_that_the_stages_made() -> None:
    class Model:
        revision = "1"

        def __init__(self) -> None:
            self.seen: list[tuple[object, ...]] = []

        def detect(self, pictures: list[int], *, size: int = 1) -> int:
            self.seen.append((tuple(pictures), size))
            return len(pictures)

    model, calls = Model(), []
    recorded = _Recorded(model, ("detect",), calls)
    assert recorded.detect([1, 2], size=3) == 2
    assert recorded.revision == "1"
    for call in calls:
        call()
    assert model.seen == [((1, 2), 3)] * 2


def test_no_two_pictures_have_the_same_bytes_and_all_show_the_same(tmp_path) -> None:
    kept = BytesIO()
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(kept, "JPEG")
    files = [
        *pictures([kept.getvalue()], 3, tmp_path / "a", "a"),
        *pictures([kept.getvalue()], 3, tmp_path / "b", "b"),
    ]
    assert len({f.read_bytes() for f in files}) == 6
    shown = [np.asarray(Image.open(f)) for f in files]
    assert all((s == shown[0]).all() for s in shown)


def test_latency_is_what_was_seen_and_not_interpolated() -> None:
    assert percentiles(range(1, 201)) == {"p50": 100, "p99": 198}
    assert percentiles([7.0]) == {"p50": 7.0, "p99": 7.0}


def test_the_work_of_a_stage_is_not_counted_as_added_latency(tmp_path) -> None:
    lines = [["detect", ["a", "b"], 0.5], ["judge", ["b"], 2.0], ["record", ["a"], 9.0]]
    (tmp_path / "times").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert worked_s([tmp_path / "times"], "a") == 0.5  # its explanation does not wait for record


def test_a_stage_works_on_a_picture_for_its_share_of_the_batch(tmp_path) -> None:
    lines = [["detect", ["low-1", "b"], 0.5], ["judge", ["low-2"], 2.0], ["judge", ["low-1"], 1.0]]
    (tmp_path / "times").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert worked_by_stage([tmp_path / "times"], "low-") == {"detect": 0.25, "judge": 3.0}


@pytest.mark.timeout(600)
def test_plain_apps_are_as_many_as_the_workers_and_timed_until_all_is_recorded(
    stack, stack_home, tmp_path, monkeypatch
) -> None:
    running: dict[str, list[Child]] = defaultdict(list)
    recorded: dict[str, list[float]] = {}  # by each process when the first of them was to stop
    child = World.child

    @contextmanager
    def watched(world: World, *arguments: str) -> Iterator[Child]:
        with child(world, *arguments) as started:
            running[arguments[0]].append(started)
            yield started
            if arguments[0] not in recorded:
                recorded[arguments[0]] = [_recorded([c]) for c in running[arguments[0]]]

    monkeypatch.setattr(World, "child", watched)
    figures: Figures = {"runs": {}}
    given = load_settings(
        home=stack_home, kafka_bootstrap=stack.kafka_bootstrap, kafka_partitions=4, threads=1
    )
    plan = Plan(runs=1, pictures=0, events=60, low=1, workers=2)
    plumbing(connected(given), plan, tmp_path, print, figures)
    assert [len(recorded["naive"]), figures["plumbing_naive_processes"]] == [2, 2]
    assert min(recorded["naive"]) > 0, "both had a share"
    # two events an upload, the warm-up's too; the stream took one more, for latency
    assert sum(recorded["naive"]) == 2 * (WARM_UP_EVENTS + plan.events)
    assert sum(recorded["stream"]) >= sum(recorded["naive"])
    assert figures["plumbing_naive_events_per_s"] > 0


@pytest.mark.timeout(1200)  # loads the models three times
def test_one_run_prints_every_ratio_with_its_runs_and_leaves_nothing_behind(
    stack, stack_home, tmp_path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from telltale.cli import main; main()", "bench", "stream",
         "--pictures", "1", "--events", "40", "--low", "4", "--runs", "2", "--workers", "1",
         "--out", str(tmp_path / "out"), "--json"],
        env={**os.environ, "TELLTALE_HOME": str(stack_home), "TELLTALE_KAFKA_PARTITIONS": "2", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=1100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)
    for name in ("ratio_to_bare", "ratio_to_naive", "plumbing_events_per_s"):
        low, high = min(figures["runs"][name]), max(figures["runs"][name])
        assert len(figures["runs"][name]) == 2
        assert 0 < low <= figures[name] + 1e-6
        assert figures[name] <= high + 1e-6
    assert 0 < figures["added_latency_ms"]["p50"] <= figures["added_latency_ms"]["p99"]
    assert [len(run["all"]) for run in figures["runs"]["added_latency_ms"]] == [4, 4]
    assert set(figures["stage_seconds_per_picture"]) == set(STAGES)
    assert figures["message_bytes"]["verdicts.issued"] > figures["message_bytes"]["images.uploaded"]
    assert figures["stored"]["row_bytes"]["verdicts"] > 0
    assert (tmp_path / "out" / "stream.png").stat().st_size > 10_000
    assert not [t for t in topics_of(stack) if "bench-" in t]


def topics_of(stack) -> list[str]:
    from telltale.delivery.topics_admin import admin

    async def names() -> list[str]:
        settings = load_settings(kafka_bootstrap=stack.kafka_bootstrap)
        async with admin(settings) as client:
            return list(await client.list_topics())

    return asyncio.run(names())
