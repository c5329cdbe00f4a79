"""What a worker logs, read as a log collector would: every line about an event says which."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest
from harness import Cluster, Record, upload, wait

from telltale.delivery.logs import NAMED, fields
from telltale.delivery.taken import read

CROWD = 24
JSON_LINES = {"TELLTALE_LOG_FORMAT": "json", "TELLTALE_LOG_LEVEL": "DEBUG"}


def trace(number: int) -> str:
    return f"{number:032x}"


def traceparent(number: int) -> str:
    return f"00-{trace(number)}-00f067aa0ba902b7-01"


class Lines:
    """The lines of a worker's log."""

    def __init__(self, worker) -> None:
        self._worker = worker

    def of(self, event: str, **said: object) -> list[dict]:
        lines = [json.loads(line) for line in self._worker.text.splitlines() if line[:1] == "{"]
        return [x for x in lines if {**said, "event": event}.items() <= x.items()]

    def first(self, event: str, **said: object) -> dict:
        wait(lambda: self.of(event, **said), 60, f"a line {event!r} of {said}")
        return self.of(event, **said)[0]


@pytest.fixture(scope="module")
def run(stack, tmp_path_factory):
    """A worker that has seen everything that can happen to an event, the places of the events, its lines."""
    cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("logs"))
    sent = {
        "answered": upload("answered", traceparent=traceparent(1)),
        "retried": upload("retried", "once", traceparent(2), seen=str(cluster.folder / "seen")),
        "fails": upload("fails", "fail", traceparent(3)),
        "unread": Record(b"unread", b"\xff{", (("traceparent", traceparent(4).encode()),)),
        "says": upload("says", "say", traceparent(5)),
        **{f"crowd-{i}": upload(f"crowd-{i}", "say") for i in range(CROWD)},
    }
    cluster.send(*sent.values())
    with cluster.worker("single", "preparing", **JSON_LINES) as worker:
        lines = Lines(worker)
        for stage in ("single", "preparing"):
            for image in sent:
                ended = "event is dead" if image in ("fails", "unread") else "event is answered"
                lines.first(ended, image_id=image, stage=stage)
        # last, as nothing behind it is finished any more
        late = upload("waits", "away", traceparent(6), until=str(cluster.folder / "never"))
        cluster.send(late)
        for stage in ("single", "preparing"):
            lines.first("dependency away", image_id="waits", stage=stage)
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0, worker.text[-3000:]
    places = {
        r.key.decode(): (r.partition, r.offset) for r in cluster.read("images.uploaded") if r.key
    }
    return SimpleNamespace(
        lines=lines, places=places, topic=f"{cluster.prefix}images.uploaded", text=worker.text
    )


@pytest.mark.parametrize("stage", ["single", "preparing"])
@pytest.mark.parametrize(
    ("event", "image", "trace_number"),
    [
        ("event is answered", "answered", 1),
        ("event is answered", "retried", 2),
        ("event is dead", "fails", 3),
        ("event is dead", "unread", 4),
        ("event is tried again", "fails", 3),
        ("dependency away", "waits", 6),
        ("event is given back", "waits", 6),
    ],
)
def test_whatever_becomes_of_an_event_is_a_line_that_says_which_event_and_which_stage(
    run, stage, event, image, trace_number
) -> None:
    line = run.lines.of(event, image_id=image, stage=stage)[0]
    assert line["topic"] == run.topic
    assert (line["partition"], line["offset"]) == run.places[image]
    assert line["trace_id"] == trace(trace_number)


def test_a_try_and_a_wait_say_what_went_wrong(run) -> None:
    (retried,) = run.lines.of("event is tried again", image_id="retried")
    assert retried["error"] == "EventFailed"
    assert retried["problem"] == "the first time only"
    assert len(run.lines.of("event is tried again", image_id="fails", stage="single")) == 2
    away = run.lines.of("dependency away", image_id="waits")[0]
    assert (away["dependency"], away["problem"]) == ("toy store", "refused")


def test_what_a_stage_logs_in_its_own_threads_says_which_stage_and_event(run) -> None:
    assert {line["stage"] for line in run.lines.of("opens")} == {"single", "preparing"}
    for event, stage in (("said in process", "single"), ("said in prepare", "preparing")):
        (line,) = run.lines.of(event, image_id="says", stage=stage)
        assert (line["partition"], line["offset"]) == run.places["says"]
        assert (line["topic"], line["trace_id"]) == (run.topic, trace(5))
    # each in its own event's name, whichever of the two threads it was in
    prepared = [line["image_id"] for line in run.lines.of("said in prepare")]
    assert sorted(prepared) == sorted(["says", *(f"crowd-{i}" for i in range(CROWD))])


def test_what_is_logged_over_a_batch_names_the_events_in_it(run) -> None:
    batched = [x for x in run.lines.of("said in process", stage="preparing") if "image_ids" in x]
    assert batched, "no batch of several"
    for line in batched:
        assert 1 < line["batch_events"] == len(line["image_ids"]) <= 4
        assert set(line["image_ids"]) <= set(run.places)
        assert "image_id" not in line


def test_every_line_of_a_worker_can_be_read_as_json(run) -> None:
    assert [json.loads(line)["event"] for line in run.text.splitlines()]


def test_of_a_large_batch_the_first_are_named_and_all_are_counted() -> None:
    records = [upload(f"i{n}") for n in range(20)]
    batch = [
        read(
            SimpleNamespace(
                topic="t", partition=0, offset=n, key=r.key, value=r.value, headers=r.headers
            ),
            "images.uploaded",
            0.0,
        )
        for n, r in enumerate(records)
    ]
    assert fields(batch) == {"batch_events": 20, "image_ids": [f"i{n}" for n in range(NAMED)]}
