"""Workers are killed while events flow; a stock client audits what went in against what came out.

The stages are stand-ins without models: this is about delivery alone.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from harness import Cluster, Record, Worker, upload

from telltale.events import derived_id

EVENTS = 900
WORKERS = 3
FAULTS = 5
SEED = 7
SESSION_S = "6"


@dataclass
class Ledger:
    """What was sent, and what a stock client found afterwards."""

    sent: dict[str, Record]
    answers: list[Record]
    dead: list[Record]
    faults: list[str] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)

    @property
    def answered(self) -> set[str]:
        return {r.header("ce_subject") for r in self.answers}

    def foreign_ids(self, stage: str) -> list[str]:
        """Ids of answers that do not follow from the id of their upload."""
        expected = {
            image: str(
                derived_id(
                    UUID(record.header("ce_id")), stage, "1", None, "telltale.image.admitted.v1"
                )
            )
            for image, record in self.sent.items()
        }
        return [
            r.header("ce_id")
            for r in self.answers
            if r.header("ce_id") != expected[r.header("ce_subject")]
        ]


class Chaos:
    """Keeps workers running and hurts them at random."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster, self._random = cluster, random.Random(seed)
        self._workers: list[Worker] = []
        self.faults: list[str] = []
        self.recovery_s: list[float] = []

    def start(self) -> None:
        while len(self._workers) < WORKERS:
            self._workers.append(self._cluster.start("slow", TELLTALE_SESSION_TIMEOUT_S=SESSION_S))

    def hurt(self, events: list[Record]) -> None:
        """One fault in the middle of these events, and the time until the rest is answered."""
        victim = self._random.choice(self._workers)
        kind = self._random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        half = len(events) // 2
        self._cluster.send(*events[:half])
        victim.signal(kind)
        at = time.time()
        self.faults.append(kind.name)
        self._cluster.send(*events[half:])
        images = {r.header("ce_subject") for r in events[half:]}
        first: dict[str, int] = {}
        for answer in self._cluster.answers(images):
            first.setdefault(answer.header("ce_subject"), answer.at_ms)
        self.recovery_s.append(max(first[image] for image in images) / 1000 - at)
        victim.ended()
        self._workers.remove(victim)
        self.start()

    def stop(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()


@pytest.fixture(scope="module")
def ledger(stack, tmp_path_factory) -> Ledger:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("chaos"), partitions=6)
    sent = {name: upload(name) for name in ("first", *(f"i{i}" for i in range(EVENTS)))}
    waiting = list(sent.values())[1:]
    chaos = Chaos(cluster, SEED)
    with ExitStack() as undo:
        undo.callback(chaos.stop)
        chaos.start()
        cluster.send(upload("first"))
        cluster.answers({"first"})
        share = EVENTS // (FAULTS + 1)
        for _ in range(FAULTS):
            chaos.hurt(waiting[:share])
            del waiting[:share]
        cluster.send(*waiting)
        answers = cluster.answers(set(sent), within_s=90)
    dead = cluster.read("images.uploaded.dead")
    return Ledger(sent, answers, dead, chaos.faults, chaos.recovery_s)


def test_nothing_is_lost(ledger) -> None:
    assert ledger.answered == set(ledger.sent)


def test_nothing_is_given_up_because_of_somebody_elses_crash(ledger) -> None:
    assert ledger.dead == []


def test_repeats_carry_the_id_and_the_bytes_of_their_original(ledger) -> None:
    assert ledger.foreign_ids("slow") == []
    contents = Counter((r.header("ce_subject"), r.value) for r in ledger.answers)
    assert len(contents) == len(ledger.sent)


def test_answers_flow_again_soon_after_every_fault(ledger) -> None:
    assert len(ledger.faults) == FAULTS
    assert max(ledger.recovery_s) < 15, list(zip(ledger.faults, ledger.recovery_s, strict=True))


BOUNDARIES = ("after-compute", "after-send", "before-acknowledgement", "after-acknowledgement")


@pytest.fixture(scope="module")
def boundaries(stack, tmp_path_factory) -> dict[str, tuple[Ledger, int]]:
    """By boundary: the ledger after a death right there, and answers sent before the death."""
    names = {f"i{i}" for i in range(60)}
    sent = {name: upload(name) for name in sorted(names)}
    found: dict[str, tuple[Ledger, int]] = {}
    with ExitStack() as undo:
        clusters: dict[str, Cluster] = {}
        dying: list[Worker] = []
        for boundary in BOUNDARIES:
            folder = tmp_path_factory.mktemp(boundary)
            cluster = clusters[boundary] = Cluster(stack.kafka_bootstrap, folder, partitions=1)
            cluster.send(*sent.values())
            # not the first time, so that something was acknowledged before
            call = "9" if "acknowledgement" in boundary else "2"
            environment = {"TOY_DIE_AT": boundary, "TOY_DIE_CALL": call}
            worker = cluster.start("batched", TELLTALE_SESSION_TIMEOUT_S=SESSION_S, **environment)
            undo.callback(worker.process.kill)
            dying.append(worker)
        for worker in dying:
            assert worker.ended() == -signal.SIGKILL, worker.text
        for boundary, cluster in clusters.items():
            before = cluster.end("images.admitted")
            living = cluster.start("batched", TELLTALE_SESSION_TIMEOUT_S=SESSION_S)
            undo.callback(living.process.kill)
            found[boundary] = (Ledger(sent, [], []), before)
        for boundary, cluster in clusters.items():
            found[boundary][0].answers += cluster.answers(names)
            found[boundary][0].dead += cluster.read("images.uploaded.dead")
    return found


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_death_at_any_step_loses_nothing_and_repeats_only_with_the_same_id(
    boundaries, boundary
) -> None:
    ledger, before = boundaries[boundary]
    assert ledger.answered == set(ledger.sent)
    assert ledger.foreign_ids("batched") == []
    assert ledger.dead == []
    assert (before > 0) or boundary == "after-compute"
