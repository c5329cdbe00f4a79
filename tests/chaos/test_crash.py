"""An event that takes its worker down. The stage is a stand-in that really crashes: this is about
delivery alone."""

from __future__ import annotations

import signal

from harness import Cluster, upload, wait
from launching import START_S, stand_in


def test_an_event_that_crashes_workers_is_dead_in_the_end_and_its_neighbours_are_answered(
    stack, tmp_path
) -> None:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path, partitions=2)
    names = {f"i{i}" for i in range(30)}
    events = [upload(name) for name in sorted(names)]
    killer = upload("killer", "crash", deaths=str(tmp_path / "deaths"))
    events.insert(15, killer)
    cluster.send(*events)
    ends: list[int] = []
    patience = {"TELLTALE_ATTEMPTS": "1", "TELLTALE_SESSION_TIMEOUT_S": "6"}
    while cluster.end("images.uploaded.dead") == 0:
        assert len(ends) < 6, "the killer was never given up"
        with stand_in(cluster, "crashing", **patience) as worker:
            wait(
                lambda w=worker: (
                    w.process.poll() is not None or cluster.end("images.uploaded.dead") > 0
                ),
                START_S,
                "the end of the worker, or of the killer",
            )
            if cluster.end("images.uploaded.dead"):
                cluster.answers(names)
                assert worker.process.poll() is None
            else:
                ends.append(worker.ended())
    assert {-signal.SIGSEGV, -signal.SIGKILL} == set(ends)
    (letter,) = cluster.read("images.uploaded.dead")
    assert letter.original == killer.content
    assert letter.header("telltale.errors.class") == "WorkerDied"
    assert letter.header("telltale.errors.attempts") == "1"


def test_an_event_that_waits_for_a_dependency_is_not_blamed_for_the_end_of_its_workers(
    stack, tmp_path
) -> None:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path, partitions=1)
    back = tmp_path / "back"
    cluster.send(upload("waits", "away", until=str(back)), *(upload(f"i{i}") for i in range(3)))
    patience = {"TELLTALE_ATTEMPTS": "1", "TELLTALE_SESSION_TIMEOUT_S": "6"}
    # after two deaths on the spot events are tried one by one, their attempts on record
    for end in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        with stand_in(cluster, "single", **patience) as worker:
            wait(
                lambda w=worker: "toy store" in w.ready(START_S).health("single")["away"],
                START_S,
                "the wait for the dependency",
            )
            worker.signal(end)
            worker.ended()
    back.touch()
    with stand_in(cluster, "single", **patience):
        answers = cluster.answers({"waits", "i0", "i1", "i2"})
    assert len(answers) == 4
    assert cluster.end("images.uploaded.dead") == 0
