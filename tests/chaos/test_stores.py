"""PostgreSQL and Valkey at fault. Postgres: the real record stage in a worker of the real command, on
Kafka. Valkey: the real detect stage with its real cache; its two models are stand-ins."""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
import redis
from gate import Gate
from harness import Cluster, Record, Worker, wait
from launching import SETTLE_S, START_S, TELLTALE, launched
from PIL import Image
from tests.contract.samples import AT, events
from tests.stages.toy import ColourEncoder

from telltale.delivery.topics_admin import create_topics
from telltale.events import (
    Envelope,
    Event,
    ExplanationReady,
    ImageAdmitted,
    VerdictIssued,
    value_bytes,
)
from telltale.policy import PolicyFile
from telltale.stack.children import Child, postgres
from telltale.stack.supervisor import free_port
from telltale.stages.contract import Batch, Item
from telltale.stages.detect import Detect
from telltale.stages.embedding import RegionEmbedder
from telltale.stages.reading import PictureReader
from telltale.stores.embeddings import EmbeddingCache
from telltale.stores.images import ImageStore
from telltale.stores.migrate import migrate
from telltale.topics import EXPLAINED, ISSUED

VERDICT = next(e for e in events() if isinstance(e, VerdictIssued))
EXPLANATION = next(e for e in events() if isinstance(e, ExplanationReady))
ADMITTED = next(e for e in events() if isinstance(e, ImageAdmitted))


class Recording:
    """A record worker of the real command, a database of its own, and what a test does to both."""

    def __init__(self, database: Child, log, dsn: str, cluster: Cluster, worker: Worker) -> None:
        self._database, self._log, self.dsn = database, log, dsn
        self.cluster, self.worker = cluster, worker

    def send(self, *names: str) -> None:
        self.cluster.send(*(message(verdict(n), verdict_id(n)) for n in names), topic=ISSUED.name)

    def rows(self, *names: str) -> dict[str, list[UUID]]:
        """Ids of the verdicts recorded of each image."""
        with psycopg.connect(self.dsn) as db:
            found = db.execute(
                "SELECT image_id, verdict_id FROM verdicts WHERE image_id = ANY(%s)", (list(names),)
            ).fetchall()
        return {n: [i for image, i in found if image == n] for n in names}

    def recorded(self, *names: str) -> None:
        """Wait until each has its one row, and the worker is well."""
        expected = {n: [verdict_id(n)] for n in names}
        wait(lambda: self.rows(*names) == expected, SETTLE_S, "one row an image")
        wait(lambda: not self.away, SETTLE_S, "the database shown as back")
        assert self.cluster.end(ISSUED.dead.name) == 0
        assert self.worker.process.poll() is None

    @property
    def away(self) -> str:
        return str(dict(self.worker.health("record")["away"]).get("postgres", ""))  # type: ignore[call-overload]

    def sql(self, text: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as db:
            db.execute(text)

    def end(self, number: signal.Signals) -> None:
        assert self._database.process is not None
        self._database.process.send_signal(number)
        self._database.process.wait(60)

    def start(self) -> None:
        self._database.start(self._log)
        wait(self._database.answers, SETTLE_S, "the database")

    def drop_connections(self) -> None:
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(scope="module")
def recording(stack, tmp_path_factory) -> Iterator[Recording]:
    # not below pytest's own folders, which another run closes to the user that the server runs as
    home = Path(tempfile.mkdtemp(prefix="telltale-test-"))
    database, dsn = postgres(home, free_port())
    log = home / "postgres.log"
    database.start(log)
    try:
        wait(database.answers, SETTLE_S, "a database")
        migrate(dsn)
        cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("record"))
        topics = (ISSUED, EXPLAINED, ISSUED.dead, EXPLAINED.dead)
        asyncio.run(create_topics(cluster.settings, topics))
        servers = {"TELLTALE_POSTGRES_DSN": dsn, "TELLTALE_REDIS_URL": stack.redis_url}
        with launched(cluster, TELLTALE, "worker", "record", **servers) as worker:
            worker.ready(START_S)
            yield Recording(database, log, dsn, cluster, worker)
    finally:
        assert database.process is not None
        database.process.send_signal(signal.SIGINT)
        database.process.wait(60)
        shutil.rmtree(home)


def verdict(image_id: str) -> VerdictIssued:
    return VERDICT.model_copy(update={"image_id": image_id})


def verdict_id(image_id: str) -> UUID:
    return UUID(bytes=random.Random(image_id).randbytes(16), version=4)


def message(event: Event, event_id: UUID) -> Record:
    envelope = Envelope(id=event_id, type=event.type_name, subject=event.image_id, time=AT)
    return Record(event.image_id.encode(), value_bytes(event), tuple(envelope.headers()))


def test_verdicts_wait_for_a_database_that_is_away(recording) -> None:
    recording.end(signal.SIGINT)
    recording.send("away-1", "away-2")
    wait(lambda: recording.away, SETTLE_S, "the database shown as away")
    assert recording.worker.page("healthz")[0] == 200
    recording.start()
    recording.recorded("away-1", "away-2")


def test_verdicts_wait_for_a_database_that_recovers_from_a_crash(recording) -> None:
    recording.send("crash-1")
    recording.recorded("crash-1")
    recording.end(signal.SIGKILL)
    recording.send("crash-2")
    recording.start()  # it replays its log, and says meanwhile that it is starting up
    recording.recorded("crash-1", "crash-2")


def test_verdicts_wait_for_a_database_that_only_reads(recording) -> None:
    name = recording.dsn.rsplit("/", 1)[1]
    # a standby answers a write with the same SQLSTATE, 25006
    recording.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        recording.drop_connections()
        recording.send("standby-1")
        wait(lambda: "read-only" in recording.away, SETTLE_S, "the database shown as read-only")
    finally:
        with psycopg.connect(recording.dsn, autocommit=True) as db:
            db.execute("SET default_transaction_read_only = off")
            db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    recording.drop_connections()
    recording.recorded("standby-1")


def test_a_connection_dropped_in_the_middle_costs_no_verdict(recording) -> None:
    names = [f"dropped-{i}" for i in range(60)]
    for start in range(0, 60, 10):
        recording.send(*names[start : start + 10])
        recording.drop_connections()
    recording.recorded(*names)


def test_repeats_in_any_order_from_several_producers_leave_one_verdict_with_one_id(
    recording,
) -> None:
    names = [f"repeat-{i}" for i in range(8)]
    verdicts = [message(verdict(n), verdict_id(n)) for n in names for _ in range(3)]
    drawn = [
        message(
            EXPLANATION.model_copy(update={"image_id": n, "verdict_id": verdict_id(n)}),
            verdict_id(f"explanation of {n}"),
        )
        for n in names
    ]
    order = random.Random(7)
    recording.cluster.send(*order.sample(drawn, len(drawn)), topic=EXPLAINED.name)
    for _ in range(2):  # each call is a producer of its own
        recording.cluster.send(*order.sample(verdicts, len(verdicts)), topic=ISSUED.name)
    recording.cluster.send(*order.sample(drawn, len(drawn)), topic=EXPLAINED.name)
    recording.recorded(*names)
    wait(lambda: recording.worker.health("record")["lag_events"] == 0, SETTLE_S, "all repeats read")
    recording.recorded(*names)
    with psycopg.connect(recording.dsn) as db:
        count = db.execute(
            "SELECT count(*) FROM explanations WHERE image_id = ANY(%s)", (names,)
        ).fetchone()
    assert count == (8,)


class OneFace:
    """Stands for YOLO: a face in the middle."""

    revision = "one-face"

    def detect(self, pictures):
        return [[("face", (50.0, 50.0, 250.0, 250.0), 0.9, None)] for _ in pictures]


@pytest.fixture
def door(stack) -> Iterator[tuple[Gate, str]]:
    """A gate before the cache, and the URL through it."""
    url = urlsplit(stack.redis_url)
    gate = Gate(url.port or 0)
    yield gate, stack.redis_url.replace(str(url.port), str(gate.port))
    gate.shut()


def test_a_cache_that_is_away_slow_or_emptied_costs_speed_only(stack, door, tmp_path) -> None:
    gate, url = door
    noise = np.random.default_rng(3).integers(0, 255, (300, 300, 3), np.uint8)
    picture = io.BytesIO()
    Image.fromarray(noise).save(picture, "PNG")
    blobs = ImageStore(f"file://{tmp_path}", {})
    sha256 = blobs.put(picture.getvalue())
    image = ADMITTED.image.model_copy(update={"sha256": sha256})
    event = ADMITTED.model_copy(update={"image": image})
    reader, encoder = PictureReader(blobs), ColourEncoder()
    encoder.revision = f"colour-{uuid4().hex}"  # nobody else's vectors
    cache = EmbeddingCache(url, 60, timeout_s=1.0)
    embedder = RegionEmbedder(encoder, cache, reader)
    stage = Detect(OneFace(), embedder, reader, PolicyFile(None), Batch(1))
    item = Item(event, Envelope(id=uuid4(), type="t", subject=event.image_id, time=AT))
    item = Item(event, item.envelope, stage.prepare(item))

    def look() -> tuple[object, int, float]:
        """The answer, the crops that were embedded anew, and the seconds it took."""
        before, began = encoder.crops_seen, time.monotonic()
        (answered,) = stage.process([item])
        return answered, encoder.crops_seen - before, time.monotonic() - began

    first, crops, _ = look()
    assert crops > 0
    assert look()[:2] == (first, 0), "the second time all come from the cache"
    gate.delay_s = 3.0
    answer, anew, took_s = look()
    assert (answer, anew) == (first, crops)
    assert took_s < 60, "no longer than the timeout of each request"
    gate.delay_s = 0.0
    wait(lambda: look()[:2] == (first, 0), SETTLE_S, "the cache in use again")
    redis.Redis.from_url(stack.redis_url).flushall()
    assert look()[:2] == (first, crops)
    assert look()[:2] == (first, 0)
    gate.shut()
    assert look()[:2] == (first, crops)
    gate.open()
    wait(lambda: look()[:2] == (first, 0), SETTLE_S, "the cache in use again")
