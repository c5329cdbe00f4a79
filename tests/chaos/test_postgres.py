"""PostgreSQL at fault. Every stage that asks it, in a worker of the real command, on Kafka: intake with its
look-up of near duplicates, retrieve with its look-ups in pgvector, record."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from harness import WHEN, Cluster, Record, Worker, message, wait
from launching import SETTLE_S, START_S, TELLTALE, launched
from tests.contract.samples import events

import telltale
from telltale import policy
from telltale.app import Wiring
from telltale.delivery.topics_admin import create_topics
from telltale.events import (
    CuesRetrieved,
    Event,
    ExplanationReady,
    Image,
    ImageUploaded,
    RegionsDetected,
    VerdictIssued,
    derived_id,
)
from telltale.lab.chaos_ground import pictures
from telltale.pictures import Limits, examine
from telltale.stack.children import Child, postgres
from telltale.stack.supervisor import free_port
from telltale.stages.intake import STORED, Intake
from telltale.stages.retrieve import Retrieve
from telltale.stores.images import ImageStore
from telltale.stores.migrate import migrate
from telltale.topics import DEAD_TOPICS, DETECTED, EXPLAINED, ISSUED, RETRIEVED, UPLOADED

STAGES = ("intake", "retrieve", "record")
VERDICT = next(e for e in events() if isinstance(e, VerdictIssued))
EXPLANATION = next(e for e in events() if isinstance(e, ExplanationReady))
FOUND = next(e for e in events() if isinstance(e, RegionsDetected))
EARLIER = "earlier"  # the picture of every upload here, seen and judged before
CUES = (
    "iris.yaml",
    "light.yaml",
    "documents.yaml",
)  # a few: every sentence is embedded at the start

pytestmark = pytest.mark.timeout(1800)


def some_id(name: str) -> UUID:
    return UUID(bytes=random.Random(name).randbytes(16), version=4)


def verdict(image_id: str) -> VerdictIssued:
    return VERDICT.model_copy(update={"image_id": image_id})


class Asking:
    """A worker of the stages that ask a database, that database, and what a test does to both."""

    def __init__(
        self, database: Child, log: Path, dsn: str, cluster: Cluster, image: Image, worker: Worker
    ) -> None:
        self._database, self._log, self.dsn = database, log, dsn
        self.cluster, self.image, self.worker = cluster, image, worker

    def send(self, *names: str) -> None:
        """Something for every stage."""
        self.send_verdicts(*names)
        uri = STORED + self.image.sha256
        uploads = [ImageUploaded(image_id=f"upload-{n}", uploaded_at=WHEN, uri=uri) for n in names]
        found = [
            FOUND.model_copy(update={"image_id": f"found-{n}", "image": self.image}) for n in names
        ]
        self.cluster.send(*(message(e, some_id(e.image_id)) for e in uploads), topic=UPLOADED.name)
        self.cluster.send(*(message(e, some_id(e.image_id)) for e in found), topic=DETECTED.name)

    def send_verdicts(self, *names: str) -> None:
        sent = (message(verdict(n), some_id(n)) for n in names)
        self.cluster.send(*sent, topic=ISSUED.name)

    def rows(self, *names: str) -> dict[str, list[UUID]]:
        """Ids of the verdicts recorded of each image."""
        with psycopg.connect(self.dsn) as db:
            found = db.execute(
                "SELECT image_id, verdict_id FROM verdicts WHERE image_id = ANY(%s)", (list(names),)
            ).fetchall()
        return {n: [i for image, i in found if image == n] for n in names}

    def recorded(self, *names: str) -> None:
        """Wait until each verdict has its one row, and the worker is well."""
        expected = {n: [some_id(n)] for n in names}
        wait(lambda: self.rows(*names) == expected, SETTLE_S, "one row an image")
        wait(lambda: not any(map(self.away, STAGES)), SETTLE_S, "the database shown as back")
        assert all(self.cluster.end(topic.name) == 0 for topic in DEAD_TOPICS)
        assert self.worker.process.poll() is None

    def looked_up(self, *names: str) -> None:
        """Wait until intake and retrieve have answered, each from what the database holds."""
        linked = {f"upload-{n}" for n in names}
        for r in self._answers(ISSUED.name, linked):
            event = VerdictIssued.model_validate_json(r.value or b"")
            assert event.image is not None
            assert event.image.near_duplicate_of == EARLIER
            assert r.header("ce_id") == answer_id(event.image_id, Intake, VerdictIssued)
        for r in self._answers(RETRIEVED.name, {f"found-{n}" for n in names}):
            cues = CuesRetrieved.model_validate_json(r.value or b"")
            assert cues.retrieval.candidates
            assert r.header("ce_id") == answer_id(cues.image_id, Retrieve, CuesRetrieved)

    def settled(self, *names: str) -> None:
        """Wait until every stage has done its part of each."""
        self.looked_up(*names)
        self.recorded(*names)

    def _answers(self, topic: str, subjects: set[str]) -> list[Record]:
        found: list[Record] = []

        def complete() -> bool:
            every = self.cluster.read(topic)
            found[:] = [r for r in every if r.header("ce_subject") in subjects]
            return subjects <= {r.header("ce_subject") for r in found}

        wait(complete, SETTLE_S, f"answers on {topic}")
        return found

    def away(self, stage: str) -> str:
        """What its health page says is wrong with the database; nothing if it is well."""
        return str(dict(self.worker.health(stage)["away"]).get("postgres", ""))  # type: ignore[call-overload]

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


def answer_id(image_id: str, stage: type[Intake | Retrieve], event: type[Event]) -> str:
    """The one id that the answer may carry."""
    return str(derived_id(some_id(image_id), stage.name, stage.version, None, event.type_name))


@pytest.fixture(scope="module")
def asking(stack, tmp_path_factory) -> Iterator[Asking]:
    # not below pytest's own folders, which another run closes to the user that the server runs as
    home = Path(tempfile.mkdtemp(prefix="telltale-test-"))
    database, dsn = postgres(home, free_port())
    log = home / "postgres.log"
    database.start(log)
    try:
        wait(database.answers, SETTLE_S, "a database")
        migrate(dsn)
        cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("asking"))
        asyncio.run(create_topics(cluster.settings))
        linking, cues = home / "policy.yaml", home / "cues"
        shipped = Path(policy.__file__).with_name("policy.yaml").read_text()
        linking.write_text(shipped.replace("near_duplicates: judge", "near_duplicates: link"))
        cues.mkdir()
        for name in CUES:
            shutil.copy(Path(telltale.__file__).parent / "data" / "cues" / name, cues)
        servers = {
            "TELLTALE_POSTGRES_DSN": dsn,
            "TELLTALE_REDIS_URL": stack.redis_url,
            "TELLTALE_POLICY_FILE": str(linking),
            "TELLTALE_CUES_DIR": str(cues),
            "TELLTALE_THREADS": "1",
        }
        with launched(cluster, TELLTALE, "worker", *STAGES, **servers) as worker:
            own = {"postgres_dsn": dsn, "redis_url": stack.redis_url, "cues_dir": cues}
            Wiring(cluster.settings.model_copy(update=own)).load_cues()  # while the worker starts
            worker.ready(START_S)
            made = Asking(database, log, dsn, cluster, stored(cluster.folder / "images"), worker)
            seen = VERDICT.model_copy(update={"image_id": EARLIER, "image": made.image})
            cluster.send(message(seen, some_id(EARLIER)), topic=ISSUED.name)
            made.recorded(EARLIER)
            yield made
    finally:
        assert database.process is not None
        database.process.send_signal(signal.SIGINT)
        database.process.wait(60)
        shutil.rmtree(home)


def stored(images: Path) -> Image:
    """A photograph, in the image store."""
    data = next(pictures())
    found = examine(data, Limits(10**8, 10**4, 1))
    return Image(
        sha256=ImageStore(f"file://{images}", {}).put(data), phash=found.phash, width_px=found.width_px,
        height_px=found.height_px, media_type=found.media_type, size_bytes=len(data),
    )  # fmt: skip


def test_every_stage_waits_for_a_database_that_is_away(asking) -> None:
    asking.end(signal.SIGINT)
    asking.send("away-1", "away-2")
    for stage in STAGES:
        wait(lambda s=stage: asking.away(s), SETTLE_S, f"the database shown as away by {stage}")
    assert asking.worker.page("healthz")[0] == 200
    asking.start()
    asking.settled("away-1", "away-2")


def test_every_stage_waits_for_a_database_that_recovers_from_a_crash(asking) -> None:
    asking.send("crash-1")
    asking.settled("crash-1")
    asking.end(signal.SIGKILL)
    asking.send("crash-2")
    asking.start()  # it replays its log, and says meanwhile that it is starting up
    asking.settled("crash-1", "crash-2")


def test_verdicts_wait_for_a_database_that_only_reads_and_look_ups_go_on(asking) -> None:
    name = asking.dsn.rsplit("/", 1)[1]
    # a standby answers a write with the same SQLSTATE, 25006
    asking.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        asking.drop_connections()
        asking.send("standby-1")
        asking.looked_up("standby-1")
        wait(
            lambda: "read-only" in asking.away("record"),
            SETTLE_S,
            "the database shown as read-only",
        )
    finally:
        with psycopg.connect(asking.dsn, autocommit=True) as db:
            db.execute("SET default_transaction_read_only = off")
            db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    asking.drop_connections()
    asking.settled("standby-1")


def test_a_connection_dropped_in_the_middle_costs_no_event(asking) -> None:
    names = [f"dropped-{i}" for i in range(60)]
    for start in range(0, 60, 10):
        asking.send(*names[start : start + 10])
        asking.drop_connections()
    asking.settled(*names)


def test_repeats_in_any_order_from_several_producers_leave_one_verdict_with_one_id(
    asking,
) -> None:
    names = [f"repeat-{i}" for i in range(8)]
    verdicts = [message(verdict(n), some_id(n)) for n in names for _ in range(3)]
    drawn = [
        message(
            EXPLANATION.model_copy(update={"image_id": n, "verdict_id": some_id(n)}),
            some_id(f"explanation of {n}"),
        )
        for n in names
    ]
    order = random.Random(7)
    asking.cluster.send(*order.sample(drawn, len(drawn)), topic=EXPLAINED.name)
    for _ in range(2):  # each call is a producer of its own
        asking.cluster.send(*order.sample(verdicts, len(verdicts)), topic=ISSUED.name)
    asking.cluster.send(*order.sample(drawn, len(drawn)), topic=EXPLAINED.name)
    asking.recorded(*names)
    wait(lambda: asking.worker.health("record")["lag_events"] == 0, SETTLE_S, "all repeats read")
    asking.recorded(*names)
    with psycopg.connect(asking.dsn) as db:
        count = db.execute(
            "SELECT count(*) FROM explanations WHERE image_id = ANY(%s)", (names,)
        ).fetchone()
    assert count == (8,)
