"""A real stage through three workers of the real command: killed, told to end, and left to finish.

In: the name of a stage that has a fixture. Out: ``Evidence``: what was sent, and what was on the topics or in
PostgreSQL by the end. Each worker has its share: the first dies between answering and acknowledging, the
second takes over and is told to end amid fresh events, the third finishes those.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import psycopg
from confluent_kafka import KafkaException
from harness import Cluster, Record, Worker, wait
from launching import SETTLE_S, START_S, TELLTALE, launched
from stage_fixtures import FIXTURES, PICTURE, Asked
from tests.contract.samples import AT

from telltale.events import (
    Envelope,
    Event,
    ExplanationReady,
    VerdictIssued,
    derived_id,
    value_bytes,
)
from telltale.stack import Endpoints
from telltale.stores.images import ImageStore
from telltale.topics import TOPICS, Topic

GOOD = 6
DEATH = 6
"""The acknowledgement before which the first worker dies: there are fewer dead letters than that."""
EVERY_S = 0.3
"""Between two looks, each of which costs the broker or a database something."""
BY_NAME = {topic.name: topic for topic in TOPICS}
TABLES: dict[type[Event], str] = {VerdictIssued: "verdicts", ExplanationReady: "explanations"}
COMMAND = (TELLTALE, "worker")


class Effect(NamedTuple):
    """What a stage did about an event: a message on a topic, or a row in a table."""

    where: str
    image_id: str
    event_id: str
    kind: str


@dataclass(frozen=True)
class Answer:
    """An effect with what it says; ``key`` is the message's."""

    effect: Effect
    value: bytes
    key: bytes | None = None


@dataclass(frozen=True)
class Question:
    """An event as it was sent, and the kind of event that it is to be answered with."""

    event: Event
    event_id: UUID
    stage: str
    kind: type[Event] | None

    @property
    def record(self) -> Record:
        image_id, kind = self.event.image_id, self.event.type_name
        envelope = Envelope(id=self.event_id, type=kind, subject=image_id, time=AT)
        return Record(image_id.encode(), value_bytes(self.event), tuple(envelope.headers()))

    @property
    def effect(self) -> Effect | None:
        """The one effect it may have, however often it comes."""
        image_id = self.event.image_id
        if self.stage == "record":
            table = TABLES[type(self.event)]
            return Effect(table, image_id, str(self.event_id), self.event.type_name)
        if self.kind is None:
            return None
        version, replay = FIXTURES[self.stage].stage.version, getattr(self.event, "replay_id", None)
        derived = derived_id(self.event_id, self.stage, version, replay, self.kind.type_name)
        return Effect(self.kind.topic, image_id, str(derived), self.kind.type_name)


@dataclass
class Round:
    """Events of one fate, their image ids beginning alike: ``asked`` in the order sent, and messages
    that are to die, with their topics, by key. One of those can be read."""

    prefix: str
    asked: list[Question]
    bad: dict[bytes, tuple[str, Record]]
    failing: bytes | None

    def holds(self, name: str) -> bool:
        """Whether an image or a message of that name belongs to it."""
        return name.startswith(self.prefix)


@dataclass
class Evidence:
    """``killed`` was sent before the first worker started, ``handed_over`` while the second ran."""

    stage: str
    killed: Round
    handed_over: Round
    at_death: list[Answer]
    lag_at_death: int
    answers: list[Answer]
    dead: list[Record]
    lag: int  # in the end
    ends: list[int]  # exit statuses


def round_of(stage: str, prefix: str) -> Round:
    """Good events, the first of them replayed, one sent twice; and bad ones."""
    fixture = FIXTURES[stage]
    questions = [
        _question(stage, good, f"{prefix}{n}")
        for n, good in enumerate(islice(cycle(fixture.good), GOOD))
    ]
    questions.append(_question(stage, fixture.good[0], f"{prefix}replayed", replay_id="r1"))
    twice = _question(stage, fixture.good[0], f"{prefix}twice")
    topics = cycle(kind.topic for kind in fixture.stage.reads)
    bad = {
        name: (next(topics), record) for name, record in _unreadable(prefix, questions[0].record)
    }
    failing = None
    if fixture.failing is not None:
        question = _question(stage, Asked(fixture.failing, None), f"{prefix}failing")
        failing = question.event.image_id.encode()
        bad[failing] = question.event.topic, question.record
    return Round(prefix, [twice, *questions, twice], bad, failing)


def _question(stage: str, asked: Asked, image_id: str, **more: object) -> Question:
    event = asked.event.model_copy(update={"image_id": image_id, **more})
    event_id = UUID(bytes=random.Random(image_id).randbytes(16), version=4)
    return Question(event, event_id, stage, asked.answer)


def _unreadable(prefix: str, good: Record) -> Iterator[tuple[bytes, Record]]:
    odd = (("x", b"\x00\xff"), ("x", b"again"))
    for name, value, headers in (
        ("not-json", b"\xff\x00{", odd),
        ("tombstone", None, ()),
        ("wrong-type", good.value, (("ce_type", b"another.v1"), *odd)),
    ):
        key = f"{prefix}{name}".encode()
        yield key, Record(key, value, headers)


class Trial:
    """One stage on topics of its own."""

    def __init__(self, stage: str, servers: Endpoints, folder: Path) -> None:
        self.stage, self._dsn = stage, servers.postgres_dsn
        self._reads = [kind.topic for kind in FIXTURES[stage].stage.reads]
        self._answers = [kind.topic for kind in FIXTURES[stage].answers]
        topics: list[Topic] = [BY_NAME[n] for n in dict.fromkeys((*self._reads, *self._answers))]
        self._cluster = Cluster(servers.kafka_bootstrap, folder, partitions=2, topics=topics)
        self._variables = {
            "TELLTALE_POSTGRES_DSN": servers.postgres_dsn,
            "TELLTALE_REDIS_URL": servers.redis_url,
            "TELLTALE_SESSION_TIMEOUT_S": "6",
        }
        ImageStore(f"file://{folder / 'images'}", {}).put(PICTURE)

    def run(self) -> Evidence:
        """All three workers, one after the other."""
        rounds = [round_of(self.stage, f"{self._cluster.prefix}{name}-") for name in "kh"]
        killed, handed_over = rounds
        ends: list[int] = []
        self._send(killed)
        with self._launched("-m", "dying", self.stage, str(DEATH)) as first:
            ends.append(first.ended(START_S))
        at_death, lag_at_death = self.answers(), self._lag()
        with self._launched(*COMMAND, self.stage) as second:
            self._until_done()
            before = len(self.answers())
            self._send(handed_over)
            wait(
                lambda: len(self.answers()) > before, SETTLE_S, "an answer to fresh events", EVERY_S
            )
            second.signal(signal.SIGTERM)
            ends.append(second.ended())
        with self._launched(*COMMAND, self.stage) as third:
            third.ready(START_S)
            self._until_done()
            third.signal(signal.SIGTERM)
            ends.append(third.ended())
        dead = [r for topic in self._reads for r in self._cluster.read(f"{topic}.dead")]
        return Evidence(
            self.stage, killed, handed_over, at_death, lag_at_death, self.answers(), dead,
            self._lag(), ends,
        )  # fmt: skip

    def answers(self) -> list[Answer]:
        """All there are by now, repeats among them."""
        if self.stage == "record":
            return list(self._rows())
        return [
            Answer(
                Effect(topic, r.header("ce_subject"), r.header("ce_id"), r.header("ce_type")),
                r.value or b"",
                r.key,
            )
            for topic in self._answers
            for r in self._cluster.read(topic)
        ]

    def _rows(self) -> Iterator[Answer]:
        with psycopg.connect(self._dsn) as db:
            for kind, table in TABLES.items():
                # 'verdicts' has 'verdict_id', 'explanations' 'explanation_id'
                found = db.execute(
                    f"SELECT image_id, {table[:-1]}_id, event::text FROM {table}"
                    " WHERE starts_with(image_id, %s)",
                    (self._cluster.prefix,),
                ).fetchall()
                for image_id, event_id, event in found:
                    value = value_bytes(kind.model_validate_json(event))
                    yield Answer(Effect(table, image_id, str(event_id), kind.type_name), value)

    def _send(self, made: Round) -> None:
        """The bad ones among the good ones."""
        order = [(q.event.topic, q.record) for q in made.asked]
        for place, bad in enumerate(made.bad.values()):
            order.insert(1 + 3 * place, bad)
        for topic in self._reads:
            self._cluster.send(*(r for t, r in order if t == topic), topic=topic)

    def _launched(self, *arguments: str) -> AbstractContextManager[Worker]:
        return launched(self._cluster, *arguments, **self._variables)

    def _until_done(self) -> None:
        wait(lambda: self._lag() == 0, START_S, "an end to all that was sent", EVERY_S)

    def _lag(self) -> int:
        """As the broker has it; a busy one, or one that is still looking for the group, is asked again."""
        found: list[int] = []

        def told() -> bool:
            try:
                found.append(self._cluster.lag(self.stage, *self._reads))
            except KafkaException:
                return False
            return True

        wait(told, SETTLE_S, "an account of the group", EVERY_S)
        return found[0]
