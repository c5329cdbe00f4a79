"""A replay through the real stages with the mini weights: the same bytes twice, then made live.

Topics, replays and stores are real; the stages are called here one after the other, as a worker
calls them, because it is about what they make and not about how they are run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from uuid import NAMESPACE_URL, uuid5

import pytest
from click.testing import CliRunner
from harness import WHEN, Cluster, Record
from PIL import Image as Pil
from skimage import data

from telltale.app import Wiring
from telltale.commands.preparing import prepare
from telltale.commands.replay import replay
from telltale.events import (
    Envelope,
    Image,
    ImageAdmitted,
    read_headers,
    read_value,
    value_bytes,
)
from telltale.settings import load_settings
from telltale.stages.contract import Answered, Item, Stage

STAGES = ("detect", "retrieve", "judge", "verify", "explain")
MADE = (
    "regions.detected", "cues.retrieved", "judgments.made", "verdicts.issued", "explanations.ready",
)  # fmt: skip
FACES = 2


class World:
    """Faces admitted on topics of their own, with the commands and stages that see them."""

    def __init__(self, cluster: Cluster, stack, images: str) -> None:
        self.cluster = cluster
        self.variables = {
            "TELLTALE_HOME": str(cluster.folder),
            "TELLTALE_KAFKA_BOOTSTRAP": cluster.bootstrap,
            "TELLTALE_POSTGRES_DSN": stack.postgres_dsn,
            "TELLTALE_REDIS_URL": stack.redis_url,
            "TELLTALE_IMAGES_URL": images,
            "TELLTALE_TOPIC_PREFIX": cluster.prefix,
            "TELLTALE_KAFKA_PARTITIONS": "2",
            "TELLTALE_THREADS": "1",
        }
        given = {k.removeprefix("TELLTALE_").lower(): v for k, v in self.variables.items()}
        self.wiring = Wiring(load_settings(**given))
        prepare(self.wiring, lambda _: None)
        self.stages = {name: self.wiring.stage(name) for name in (*STAGES, "record")}
        for stage in self.stages.values():
            stage.open()
        self.images = [self._admit(n) for n in range(FACES)]

    def _admit(self, n: int) -> str:
        """Put a picture into the store, and send the event that intake would make of it."""
        out, name = BytesIO(), f"{self.cluster.prefix}{n}"
        Pil.fromarray(data.astronaut()[n : 300 + n, 80 + n : 380 + n]).save(out, "PNG")
        sha256 = self.wiring.blobs.put(out.getvalue())
        upload = uuid5(NAMESPACE_URL, name)
        event = ImageAdmitted(
            image_id=name, uploaded_at=WHEN, upload_id=upload,
            image=Image(
                sha256=sha256, phash="0" * 16, width_px=300, height_px=300,
                media_type="image/png", size_bytes=len(out.getvalue()),
            ),
        )  # fmt: skip
        envelope = Envelope(id=upload, type=event.type_name, subject=name, time=WHEN)
        record = Record(name.encode(), value_bytes(event), tuple(envelope.headers()))
        self.cluster.send(record, topic="images.admitted")
        return name

    def replay(self, name: str, *arguments: str) -> dict:
        given = ["images.admitted", "--replay-id", name, *arguments, "--json"]
        done = CliRunner().invoke(replay, given, catch_exceptions=False, env=self.variables)
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    def run(self, stage: Stage, prefix: str, batch: int) -> int:
        """Everything on the topics that a stage reads, in batches; what it sends is counted."""
        sent = 0
        for topic in (kind.topic for kind in stage.reads):
            items = [item(topic, r) for r in self.cluster.read(prefix + topic)]
            for start in range(0, len(items), batch):
                chunk = [
                    replace(i, prepared=stage.prepare(i)) for i in items[start : start + batch]
                ]
                for one, done in zip(chunk, stage.process(chunk), strict=True):
                    assert isinstance(done, Answered), done
                    sent += self._send(stage, prefix, one, done)
        return sent

    def _send(self, stage: Stage, prefix: str, one: Item, done: Answered) -> int:
        for event in done.events:
            now = datetime.now(UTC)
            child = Envelope.child(one.envelope, event, stage.name, stage.version, now)
            record = Record(event.image_id.encode(), value_bytes(event), tuple(child.headers()))
            self.cluster.send(record, topic=prefix + event.topic)
        return len(done.events)

    def run_shadow(self, name: str, batch: int) -> None:
        """Replay, and run the stages over it."""
        assert self.replay(name, "--yes")["events"] == FACES
        for stage in STAGES:
            assert self.run(self.stages[stage], f"{name}.", batch) == FACES

    def values(self, name: str, topic: str) -> dict[bytes, tuple[bytes, dict[str, bytes]]]:
        """By image: value and headers, without what must tell one replay from another."""
        verdicts = {
            r.key: r.header("ce_id").encode() for r in self.cluster.read(f"{name}.verdicts.issued")
        }
        found = {}
        for r in self.cluster.read(f"{name}.{topic}"):
            bare = r.value.replace(name.encode(), b"REPLAY").replace(verdicts[r.key], b"VERDICT")
            found[r.key] = bare, {k: v for k, v in r.headers if k not in ("ce_id", "ce_time")}
        return found

    def pictures(self, name: str) -> list[str]:
        """Hashes of what was drawn for a replay, in the order of image and claim."""
        hashes = []
        for r in sorted(self.cluster.read(f"{name}.explanations.ready"), key=lambda r: r.key):
            drawn = json.loads(r.value)["explanation"]
            keys = [m["picture"] for m in drawn["maps"] if m["picture"]] + [drawn["overview"]]
            hashes += [hashlib.sha256(self.wiring.blobs.get_picture(k)).hexdigest() for k in keys]
        return hashes

    def holding(self) -> list[list[str | None]]:
        """By image, whose verdicts are recorded and explained, the one that holds first."""
        store = self.wiring.verdict_store
        return [
            [r.verdict.replay_id for r in store.of_image(i) if r.explanation] for i in self.images
        ]


def item(topic: str, record: Record) -> Item:
    event = read_value(topic, record.value)
    return Item(event, read_headers(dict(record.headers), record.value, event))


@pytest.fixture(scope="module")
def world(stack, tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("whole")
    made = World(Cluster(stack.kafka_bootstrap, folder, 2), stack, f"file://{folder}/images")
    # one by one, and then together: what happens to share a batch must not matter
    made.run_shadow("once", batch=1)
    made.run_shadow("twice", batch=8)
    yield made
    for stage in made.stages.values():
        stage.close()
    made.wiring.verdict_store.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("topic", MADE)
def test_the_same_topic_replayed_twice_gives_the_same_bytes(world, topic: str) -> None:
    once, twice = world.values("once", topic), world.values("twice", topic)
    assert len(once) == FACES
    assert once == twice


def test_the_same_topic_replayed_twice_gives_the_same_pictures(world) -> None:
    assert len(world.pictures("once")) >= FACES
    assert world.pictures("once") == world.pictures("twice")


def test_a_promoted_replay_holds_and_is_not_drawn_again(world) -> None:
    explain, record = world.stages["explain"], world.stages["record"]
    assert world.replay("once", "--promote", "--yes")["verdicts"] == FACES
    assert world.run(explain, "", batch=8) == 0
    world.run(record, "", batch=8)
    assert world.holding() == [["once"]] * FACES

    assert world.replay("twice", "--promote", "--yes")["verdicts"] == FACES
    world.run(record, "", batch=8)  # from the beginning of the topic, as after a lost offset
    assert world.holding() == [["twice", "once"]] * FACES
    assert world.cluster.end("explanations.ready") == 2 * FACES

    said = world.replay("twice", "--diff")
    assert (said["compared"], said["flips"], said["probability"]["mean_size"]) == (FACES, 0, 0)
