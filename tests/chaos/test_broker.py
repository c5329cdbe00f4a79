"""The broker restarts, is killed, has no room left: workers wait, go on, and nothing is lost.

A broker of these tests' own, so that no other test notices; the stages are stand-ins without models:
this is about delivery alone.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker
from confluent_kafka import Producer
from harness import Cluster, Record, upload, wait
from launching import SETTLE_S, START_S, stand_in

from telltale.topics import UPLOADED

ROOM_MB = 48


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> Iterator[Path | None]:
    """A small file system, where one may be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def broker(disk, tmp_path_factory) -> Iterator[Broker]:
    home = tmp_path_factory.mktemp("broker")
    # small indexes: as they come they take twenty megabytes a partition
    properties = {"log.index.size.max.bytes": "65536", "offsets.topic.num.partitions": "1"}
    broker = Broker(home, properties, data=disk / "kafka" if disk else None)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def cluster(broker, tmp_path) -> Cluster:
    return Cluster(broker.bootstrap, tmp_path)


def images(numbers: range) -> list[Record]:
    return [upload(f"i{n}") for n in numbers]


def names(records: list[Record]) -> set[str]:
    return {r.header("ce_subject") for r in records}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_worker_waits_for_a_broker_that_goes_and_comes_back(broker, cluster, how) -> None:
    before, after = images(range(300)), images(range(300, 340))
    with stand_in(cluster, "slow") as worker:
        worker.ready(START_S)
        cluster.send(*before)
        wait(lambda: cluster.end("images.admitted") > 20, SETTLE_S, "answers")
        getattr(broker, how)()
        wait(lambda: "kafka" in worker.health("slow")["away"], SETTLE_S, "the broker shown as away")
        assert worker.page("healthz")[0] == 200, "waiting is not being stuck"
        broker.start()
        cluster.send(*after)
        answers = cluster.answers(names(before + after))
        wait(lambda: not worker.health("slow")["away"], SETTLE_S, "the broker shown as back")
        assert worker.process.poll() is None, worker.text
    ids = {(r.header("ce_subject"), r.header("ce_id")) for r in answers}
    assert len(ids) == 340, "a repeat carries the id of its original"
    assert cluster.end("images.uploaded.dead") == 0


def test_a_worker_told_to_end_while_the_broker_is_away_ends_and_loses_nothing(
    broker, cluster
) -> None:
    uploads = images(range(300))
    with stand_in(cluster, "slow") as worker:
        worker.ready(START_S)
        cluster.send(*uploads)
        wait(lambda: cluster.end("images.admitted") > 20, SETTLE_S, "answers")
        broker.kill()
        worker.signal(signal.SIGTERM)
        assert worker.ended(within_s=SETTLE_S) == 4, worker.text
    assert "kafka is away: no farewell" in worker.text
    broker.start()
    with stand_in(cluster, "slow"):
        answers = cluster.answers(names(uploads))
    assert len({r.header("ce_id") for r in answers}) == 300


def test_a_broker_without_room_is_waited_for_until_it_has_some(broker, cluster, disk) -> None:
    if disk is None:
        pytest.skip("no file system may be mounted here")
    with stand_in(cluster, "batched") as worker:
        worker.ready(START_S)
        cluster.send(*images(range(20)))
        cluster.answers(names(images(range(20))))
        ballast = fill(disk)
        kept = send_until_dead(broker, cluster)
        ballast.unlink()
        assert worker.process.poll() is None, worker.text
        broker.start()
        later = images(range(100_000, 100_020))
        cluster.send(*later)
        cluster.answers({*kept, *names(later)})
        assert worker.process.poll() is None, worker.text


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as out:  # nothing is left to write when it is closed
        try:
            while True:
                out.write(bytes(1 << 16))
        except OSError:
            return ballast


def send_until_dead(broker: Broker, cluster: Cluster) -> set[str]:
    """Send until the broker has given up; the images whose uploads it had confirmed."""
    confirmed: set[str] = set()
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "message.timeout.ms": 20_000})

    def note(error: object, message: object) -> None:
        if error is None:
            confirmed.add(message.key().decode())

    numbers = iter(range(1000, 100_000))

    def dead() -> bool:
        for _ in range(20):
            r = upload(f"i{next(numbers)}", filling="x" * 10_000)
            producer.produce(
                cluster.prefix + UPLOADED.name,
                r.value,
                r.key,
                headers=list(r.headers),
                on_delivery=note,
            )
        producer.poll(0)
        return not broker.alive

    wait(dead, SETTLE_S, "the broker's end for want of room")
    producer.purge()
    producer.flush(30)
    return confirmed
