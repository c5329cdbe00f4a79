"""The wall clock of a worker jumps. The stage is a stand-in: this is about delivery alone.

The clock is replaced inside the worker's Python, which is where the product and its Kafka client read it.
"""

from __future__ import annotations

from harness import Cluster, upload
from launching import START_S, stand_in


def test_a_clock_that_jumps_changes_no_answer_and_ends_no_worker(stack, tmp_path) -> None:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path)
    clock = tmp_path / "clock"
    names = set[str]()
    with stand_in(cluster, "batched", FAULTY_CLOCK=str(clock), TELLTALE_STUCK_S="60") as worker:
        worker.ready(START_S)
        for number, jump_s in enumerate((0, 7200, -7200, 40 * 86400)):
            clock.write_text(str(jump_s))
            batch = {f"i{number}-{i}" for i in range(30)}
            names |= batch
            # one of them fails at first, so that it is tried again after a pause
            seen = str(tmp_path / f"seen-{number}")
            cluster.send(
                *(upload(n) for n in sorted(batch)), upload(f"again-{number}", "once", seen=seen)
            )
            names.add(f"again-{number}")
            answers = cluster.answers(names)
        assert worker.process.poll() is None, worker.text
        assert worker.page("healthz")[0] == 200
    assert len(answers) == len(names), "no rebalance, no repeat"
    assert cluster.end("images.uploaded.dead") == 0
