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
