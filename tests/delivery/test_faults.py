"""One fault at a time, and what delivery does about it."""

from __future__ import annotations

import signal
import time

from harness import Cluster, upload, wait


def images(records) -> set[str]:
    return {r.header("ce_subject") for r in records}


def test_a_dependency_that_is_away_keeps_its_partition_waiting_and_is_shown(cluster) -> None:
    back = cluster.folder / "back"
    cluster.send(
        *(upload(f"before-{i}") for i in range(5)),
        upload("waits", "away", until=str(back)),
        *(upload(f"after-{i}") for i in range(20)),
    )
    with cluster.worker("batched") as worker:
        worker.ready()
        wait(lambda: worker.health("batched")["away"], 60, "the dependency shown as away")
        assert worker.health("batched")["away"] == {"toy store": "refused"}
        status, metrics = worker.page("metrics")
        assert status == 200
        gauge = 'telltale_dependency_up{dependency="toy store",stage="batched"}'
        assert f"{gauge} 0.0".encode() in metrics
        assert worker.page("healthz")[0] == 200, "waiting is not being stuck"
        back.touch()
        answers = cluster.read("images.admitted", least=26)
        wait(lambda: not worker.health("batched")["away"], 5, "the dependency shown as back")
    assert len(answers) == len(images(answers)) == 26
    assert cluster.end("images.uploaded.dead") == 0


def test_a_worker_waiting_for_a_dependency_stops_at_once_and_loses_nothing(cluster) -> None:
    back = cluster.folder / "back"
    cluster.send(*(upload(f"i{i}", "away", until=str(back)) for i in range(30)))
    with cluster.worker("single") as worker:
        worker.ready()
        wait(lambda: worker.health("single")["away"], 60, "the dependency shown as away")
        worker.signal(signal.SIGTERM)
        assert worker.ended(within_s=30) == 0, worker.text
    back.touch()
    with cluster.worker("single"):
        assert len(images(cluster.read("images.admitted", least=30))) == 30


def test_the_same_upload_twice_gives_answers_with_the_same_id_and_bytes(cluster) -> None:
    cluster.send(upload("twice"), upload("between"), upload("twice"))
    with cluster.worker("batched"):
        answers = cluster.read("images.admitted", least=3)
    twice = [a for a in answers if a.header("ce_subject") == "twice"]
    assert len(twice) == 2
    assert twice[0].header("ce_id") == twice[1].header("ce_id")
    assert twice[0].value == twice[1].value


def test_workers_that_come_and_go_share_the_partitions_and_lose_nothing(cluster) -> None:
    names = [f"i{i}" for i in range(2400)]
    cluster.send(*(upload(name) for name in names[:1200]))
    with cluster.worker("slow") as first:
        first.ready()
        with cluster.worker("slow") as second:
            second.ready()
            wait(lambda: second.health("slow")["partitions"] == 2, 60, "half of the partitions")
            cluster.send(*(upload(name) for name in names[1200:]))
            before = cluster.end("images.admitted")
            wait(lambda: cluster.end("images.admitted") >= before + 100, 60, "answers of both")
            # both are at work, and have finished some since they last committed
            second.signal(signal.SIGTERM)
            assert second.ended() == 0, second.text
        wait(lambda: first.health("slow")["partitions"] == 4, 60, "all partitions with the first")
        answers = cluster.answers(set(names))
    assert len(answers) == len(names), "a hand-over that is announced repeats nothing"


def test_a_stage_with_a_long_batch_does_not_hold_up_the_others_of_its_process(cluster) -> None:
    began, done = cluster.folder / "began", cluster.folder / "done"
    with cluster.worker("single", "batched") as both, cluster.worker("batched") as other:
        both.ready()
        other.ready()
        cluster.send(upload("long", "hold", stage="single", began=str(began), until=str(done)))
        wait(began.exists, 60, "the long batch at work")
        both.signal(signal.SIGTERM)
        wait(
            lambda: other.health("batched")["partitions"] == 4, 60, "all partitions with the other"
        )
        assert both.alive, "what is at work is finished"
        done.touch()
        assert both.ended(within_s=60) == 0, both.text
    assert images(cluster.read("images.admitted", least=2)) == {"long"}
    with cluster.worker("single") as later:
        later.ready()
        assert later.health("single")["lag_events"] == 0, "it was acknowledged"


def test_an_event_that_kills_its_worker_is_dead_after_its_attempts_and_its_neighbours_live(
    cluster,
) -> None:
    names = [f"i{i}" for i in range(40)]
    events = [upload(name) for name in names]
    events.insert(20, upload("killer", "die"))
    cluster.send(*events)
    patience = {"TELLTALE_ATTEMPTS": "2", "TELLTALE_SESSION_TIMEOUT_S": "6"}
    deaths = 0
    while cluster.end("images.uploaded.dead") == 0:
        assert deaths < 8, "the killer was never given up"
        with cluster.worker("batched", **patience) as worker:
            wait(
                lambda w=worker: (
                    w.process.poll() is not None or cluster.end("images.uploaded.dead") > 0
                ),
                120,
                "the end of the worker, or of the killer",
            )
            deaths += not worker.alive
            if worker.alive:  # its commit is still to come: another would try the killer again
                answers = cluster.answers(set(names))
    (letter,) = cluster.read("images.uploaded.dead")
    assert letter.key == b"killer"
    assert letter.header("telltale.errors.class") == "WorkerDied"
    assert letter.header("telltale.errors.attempts") == "2"
    assert images(answers) == set(names)


def test_a_worker_that_hangs_ends_itself_so_that_another_can_take_over(cluster) -> None:
    cluster.send(upload("hangs", "hang"))
    with cluster.worker("single", TELLTALE_STUCK_S="3") as worker:
        assert worker.ended(within_s=120) == 75, worker.text
    assert "none finished" in worker.text


def test_an_idle_worker_is_healthy(cluster) -> None:
    with cluster.worker("single", TELLTALE_STUCK_S="3") as worker:
        worker.ready()
        cluster.send(upload("one"))
        cluster.read("images.admitted", least=1)
        idle_since = time.monotonic()
        wait(lambda: time.monotonic() - idle_since > 4, 5, "longer than a worker may be stuck")
        assert worker.page("healthz")[0] == 200
        assert worker.process.poll() is None


def test_a_flood_of_dead_letters_pauses_the_stage_instead_of_draining_the_topic(cluster) -> None:
    cluster.send(*(upload(f"i{i}", "fail") for i in range(200)))
    with cluster.worker("batched", TELLTALE_ATTEMPTS="1") as worker:
        worker.ready()
        wait(lambda: worker.health("batched")["paused_for"], 60, "the pause")
        assert "are dead" in str(worker.health("batched")["paused_for"])
        assert b'telltale_paused{stage="batched"} 1.0' in worker.page("metrics")[1]
        worker.signal(signal.SIGTERM)
        assert worker.ended(within_s=30) == 0, worker.text
    assert cluster.end("images.uploaded.dead") < 100


def test_a_missing_topic_is_named_at_the_start(stack, tmp_path) -> None:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path)
    with cluster.worker("single", TELLTALE_TOPIC_PREFIX="nobody.") as worker:
        assert worker.ended() == 2
    assert "nobody.images.uploaded" in worker.text
    assert "telltale topics create" in worker.text


def test_a_broker_that_does_not_answer_is_named_at_the_start(cluster) -> None:
    with cluster.worker("single", TELLTALE_KAFKA_BOOTSTRAP="127.0.0.1:9") as worker:
        assert worker.ended() == 4
    assert "127.0.0.1:9 is away" in worker.text


def test_an_answer_over_the_size_limit_is_a_dead_letter_and_not_an_endless_retry(cluster) -> None:
    cluster.send(upload("before"), upload("long", "long"), upload("after"))
    with cluster.worker("batched"):
        cluster.answers({"before", "after"})
        (letter,) = cluster.read("images.uploaded.dead", least=1)
    assert letter.key == b"long"
    assert "does not take a message of" in letter.header("telltale.errors.message")


def test_a_message_near_the_size_limit_still_fits_its_dead_topic(cluster) -> None:
    big = upload("big", "fail", filling="x" * 1_047_000)
    cluster.send(big)
    with cluster.worker("batched"):
        (letter,) = cluster.read("images.uploaded.dead", least=1)
    assert letter.original == big.content


def test_a_worker_frozen_longer_than_its_session_loses_its_partitions_and_comes_back(
    cluster,
) -> None:
    names = [f"i{i}" for i in range(300)]
    with (
        cluster.worker("slow", TELLTALE_SESSION_TIMEOUT_S="6") as frozen,
        cluster.worker("slow", TELLTALE_SESSION_TIMEOUT_S="6") as other,
    ):
        frozen.ready()
        other.ready()
        wait(lambda: other.health("slow")["partitions"] == 2, 60, "half of the partitions")
        cluster.send(*(upload(name) for name in names))
        wait(lambda: cluster.end("images.admitted") > 20, 60, "answers")
        frozen.signal(signal.SIGSTOP)
        wait(lambda: other.health("slow")["partitions"] == 4, 60, "all partitions")
        answers = cluster.answers(set(names))
        frozen.signal(signal.SIGCONT)
        wait(lambda: frozen.health("slow")["partitions"] == 2, 60, "half of the partitions again")
        cluster.send(upload("later"))
        answers = cluster.answers({*names, "later"})
        assert frozen.process.poll() is None
    ids = {(r.header("ce_subject"), r.header("ce_id")) for r in answers}
    assert len(ids) == len(names) + 1, "a repeat carries the id of its original"
