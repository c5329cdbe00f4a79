"""Workers that are alive and do not take part. The stages are stand-ins: this is about delivery alone."""

from __future__ import annotations

import signal

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from harness import Cluster, upload, wait
from launching import SETTLE_S, START_S, stand_in

from telltale.topics import ADMITTED, UPLOADED


@pytest.fixture
def cluster(stack, tmp_path) -> Cluster:
    return Cluster(stack.kafka_bootstrap, tmp_path)


def test_a_worker_that_has_silently_left_its_group_ends_itself(cluster) -> None:
    # aiokafka leaves when it is not polled for so long, and does not join again by itself
    silent = {"TELLTALE_MAX_POLL_INTERVAL_S": "1", "TELLTALE_STUCK_S": "6"}
    cluster.send(*(upload(f"i{i}") for i in range(200)))
    with stand_in(cluster, "sluggish", **silent) as worker:
        assert worker.ended(within_s=START_S) == 75, worker.text
    assert "outside the consumer group" in worker.text


def test_a_batch_that_takes_too_long_does_not_hold_up_the_other_workers(cluster) -> None:
    patience = {"TELLTALE_REBALANCE_TIMEOUT_S": "6"}
    cluster.send(upload("hangs", "hang"))
    with stand_in(cluster, "single", **patience) as hanging:
        hanging.ready(START_S)
        wait(lambda: hanging.health("single")["pending_events"] == 1, SETTLE_S, "the event in hand")
        with stand_in(cluster, "single", **patience) as other:
            other.ready(START_S)
            wait(lambda: other.health("single")["partitions"] == 4, 60, "all partitions")
            assert hanging.process.poll() is None


def test_partitions_added_while_a_worker_runs_are_read(cluster) -> None:
    with stand_in(cluster, "batched") as worker:
        worker.ready(START_S)
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        more = {cluster.prefix + t.name: 8 for t in (UPLOADED, ADMITTED)}
        for done in admin.create_partitions(
            [NewPartitions(n, c) for n, c in more.items()]
        ).values():
            done.result(30)
        wait(lambda: len(admin.list_topics(timeout=10).topics[min(more)].partitions) == 8, 60, "8")
        names = {f"i{i}" for i in range(100)}
        cluster.send(*(upload(name) for name in sorted(names)))
        used = {r.partition for r in cluster.read(UPLOADED.name)}
        assert used & {4, 5, 6, 7}, "some went to the new partitions"
        cluster.answers(names)
        wait(lambda: worker.health("batched")["partitions"] == 8, SETTLE_S, "8 partitions held")


def test_what_retention_removed_unread_is_not_waited_for(cluster) -> None:
    cluster.send(*(upload(f"i{i}") for i in range(20)))
    with stand_in(cluster, "batched") as worker:
        cluster.answers({f"i{i}" for i in range(20)})
        wait(lambda: worker.health("batched")["lag_events"] == 0, SETTLE_S, "no lag")
    cluster.send(*(upload(f"lost-{i}") for i in range(20)))
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    everything = [TopicPartition(cluster.prefix + UPLOADED.name, p, -1) for p in range(4)]
    for done in admin.delete_records(everything).values():
        done.result(30)
    with stand_in(cluster, "batched", TELLTALE_STUCK_S="10") as worker:
        worker.ready(START_S)
        cluster.send(upload("later"))
        cluster.answers({"later"})
        # as long as a worker may be stuck, and the time between two questions to the broker
        with pytest.raises(AssertionError, match="the worker's end"):
            wait(lambda: worker.process.poll() is not None, 18, "the worker's end")
        assert worker.health("batched")["lag_events"] == 0


def test_what_a_fetch_took_while_partitions_moved_is_taken_again(cluster, tmp_path) -> None:
    began, until = tmp_path / "began", tmp_path / "until"
    held = upload("held", "hold", stage="single", began=str(began), until=str(until))
    names = {"held", *(f"i{i}" for i in range(20))}
    with stand_in(cluster, "single", FAULTY_FETCH="over rebalances") as first:
        first.ready(START_S)
        # nothing is committed yet, and all is in hand: the fetch under way waits for more
        cluster.send(held)
        wait(began.exists, SETTLE_S, "the first event at work")
        cluster.send(*(upload(name) for name in sorted(names - {"held"})))
        wait(lambda: first.health("single")["pending_events"] > 16, SETTLE_S, "the rest in hand")
        with stand_in(cluster, "single") as second:
            wait(lambda: first.health("single")["pending_events"] == 1, SETTLE_S, "the rest back")
            until.touch()
            second.ready(START_S)
            cluster.answers(names, within_s=60)
            for worker in (first, second):
                wait(lambda w=worker: not w.health("single")["lag_events"], SETTLE_S, "no lag")


def test_what_was_acknowledged_is_committed_before_partitions_move(cluster) -> None:
    before, after = ([f"{when}-{i}" for i in range(40)] for when in ("before", "after"))
    with stand_in(cluster, "batched", FAULTY_COMMIT="at hand-overs only") as first:
        first.ready(START_S)
        cluster.send(*(upload(name) for name in before))
        cluster.answers(set(before))
        with stand_in(cluster, "batched") as second:
            second.ready(START_S)
            # what is repeated comes before what follows it
            cluster.send(*(upload(name) for name in after))
            answers = cluster.answers({*before, *after})
    assert len(answers) == 80, "nothing is repeated"


def test_a_worker_told_to_end_amid_a_rebalance_hands_over_as_any_other(cluster) -> None:
    names = {f"i{i}" for i in range(600)}
    cluster.send(*(upload(name) for name in sorted(names)))
    with stand_in(cluster, "slow", FAULTY_END="amid a rebalance") as first:
        wait(lambda: cluster.end(ADMITTED.name) >= 60, START_S, "the first at work")
        first.signal(signal.SIGTERM)
        assert first.ended(within_s=SETTLE_S) == 0, first.text
    with stand_in(cluster, "slow"):
        answers = cluster.answers(names)
    assert len(answers) == len(names), "a hand-over that is announced repeats nothing"


def test_a_worker_that_is_given_nothing_of_what_waits_ends_itself(cluster) -> None:
    # nobody has committed anything here: what waits is known from the broker alone
    cluster.send(*(upload(f"i{i}") for i in range(20)))
    with stand_in(cluster, "batched", FAULTY_FETCH="nothing", TELLTALE_STUCK_S="8") as worker:
        worker.ready(START_S)
        wait(lambda: worker.health("batched")["lag_events"] == 20, SETTLE_S, "the lag")
        assert worker.ended(within_s=60) == 75, worker.text
    assert "20 waiting, none finished" in worker.text
