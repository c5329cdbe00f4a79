"""Stages as workers of their own: one alone, two sharing partitions, and a restart of the servers between."""

from __future__ import annotations

import json
import time

import pytest
from confluent_kafka.admin import AdminClient
from PIL import Image
from skimage import data

from telltale.app import Wiring
from telltale.commands.preparing import prepare
from telltale.commands.workers import stop_worker
from telltale.stack import down, up

from .conftest import new_world, wait_until

AFTER = ("retrieve", "judge", "verify", "explain", "record")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Servers of its own, which it may restart."""
    home = tmp_path_factory.mktemp("own")
    up(home)
    world = new_world(home, home / "images", {})
    prepare(Wiring(world.settings), print)
    yield world
    for process in world.workers.values():
        stop_worker(process)
    down(home)


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> list[str]:
    """Different crops of one photograph: different content, so that nothing comes from a cache."""
    folder = tmp_path_factory.mktemp("faces")
    paths = []
    for n in range(8):
        path = folder / f"{n}.png"
        Image.fromarray(data.astronaut()[n : 300 + n, 80 + n : 380 + n]).save(path)
        paths.append(str(path))
    return paths


def lag(world, topic: str, stage: str) -> int:
    listed = json.loads(world.telltale("topics", "list", "--json").stdout)
    return next(t["lag"].get(stage, 0) for t in listed if t["name"].endswith(topic))


def shares(world) -> list[int]:
    """How many partitions each worker of detect holds, by Kafka's own account."""
    settings = Wiring(world.settings).settings
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    group = f"{settings.topic_prefix}telltale-detect"
    described = admin.describe_consumer_groups([group])[group].result(20)
    return [len(m.assignment.topic_partitions) for m in described.members]


def recorded(world, image_ids) -> int:
    store = Wiring(world.settings).verdict_store
    found = sum(bool(store.of_image(i)) for i in image_ids)
    store.close()
    return found


@pytest.mark.timeout(900)
def test_stages_start_apart_share_partitions_and_outlive_their_servers(own, faces) -> None:
    sent = own.telltale("submit", "--json", *faces)
    assert sent.returncode == 0, sent.stderr
    ids = [json.loads(line)["image_id"] for line in sent.stdout.splitlines()]

    # detect alone, twice: uploads wait at intake, as nobody runs it
    first, second = own.start("detect", "detect-1"), own.start("detect", "detect-2")
    assert lag(own, "images.uploaded", "intake") == len(faces)
    wait_until(lambda: sorted(shares(own)) == [2, 2], 60, "two workers with two partitions each")

    # the servers restart while the workers run; what was sent is still there
    down(own.settings.home)
    up(own.settings.home)
    own.start("intake")
    wait_until(
        lambda: (
            lag(own, "images.admitted", "detect") == 0
            and lag(own, "images.uploaded", "intake") == 0
        ),
        120,
        "detected",
    )
    assert first.poll() is None
    assert second.poll() is None
    # one of the two goes; the rest of the stages come; every upload is answered
    stop_worker(first)
    for stage in AFTER:
        own.start(stage)
    began = time.monotonic()
    wait_until(lambda: recorded(own, ids) == len(faces), 180, "every upload is recorded")
    assert time.monotonic() - began < 180
