"""Redis at fault: the real detect and verify in a worker of the real command, on Kafka.

The same events are sent again and again. Whatever the cache does, they are answered, and the answers are
the same, to the byte.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid5

import pytest
import redis
from gate import Gate
from harness import Cluster, Record, Worker, message, wait
from launching import SETTLE_S, START_S, TELLTALE, launched
from tests.contract.samples import events

from telltale.cues import load_cues
from telltale.delivery.topics_admin import create_topics
from telltale.events import (
    Candidate,
    ImageAdmitted,
    JudgedClaim,
    Judgment,
    JudgmentMade,
    RegionsDetected,
    Retrieval,
    VerdictIssued,
)
from telltale.lab.chaos_ground import pictures
from telltale.regions import regions_for
from telltale.stores.images import ImageStore
from telltale.topics import ADMITTED, DEAD_TOPICS, DETECTED, ISSUED, JUDGED

ADMISSION = next(e for e in events() if isinstance(e, ImageAdmitted))
NAMES = ("one", "two")
CLAIMS = 6
DATABASE = "/9"  # of our own, so that emptying it costs nobody else
PARENTS = UUID(int=9)

pytestmark = pytest.mark.timeout(1800)


class Looking:
    """A worker whose cache is behind a gate, and the answers to the same events so far."""

    def __init__(self, cluster: Cluster, worker: Worker, gate: Gate, cache: redis.Redis) -> None:
        self.cluster, self.worker, self.gate, self._cache = cluster, worker, gate, cache
        self._asked: dict[str, list[Record]] = {}
        self._rounds = 0
        self._first: dict[tuple[str, str], bytes] = {}
        """By stage that answered and answer's id."""

    def begin(self) -> None:
        """Admit the pictures, and have claims made of what is found in them."""
        blobs = ImageStore(f"file://{self.cluster.folder / 'images'}", {})
        admitted = [
            ADMISSION.model_copy(
                update={
                    "image_id": name,
                    "image": ADMISSION.image.model_copy(update={"sha256": blobs.put(picture)}),
                }
            )
            for name, picture in zip(NAMES, islice(pictures(), len(NAMES)), strict=True)
        ]
        self._asked = {ADMITTED.name: [message(e, uuid5(PARENTS, e.image_id)) for e in admitted]}
        self.cluster.send(*self._asked[ADMITTED.name], topic=ADMITTED.name)
        found = self.cluster.read(DETECTED.name, len(NAMES), SETTLE_S)
        judged = [judgment(RegionsDetected.model_validate_json(r.value or b"")) for r in found]
        self._asked[JUDGED.name] = [message(e, uuid5(PARENTS, e.image_id)) for e in judged]
        self.cluster.send(*self._asked[JUDGED.name], topic=JUDGED.name)
        verdicts = self.cluster.read(ISSUED.name, len(NAMES), SETTLE_S)
        self._rounds = 1
        self._first = {
            (r.header("ce_type"), r.header("ce_id")): r.value or b"" for r in found + verdicts
        }
        assert len(self._first) == 2 * len(NAMES)
        for r in verdicts:
            claims = VerdictIssued.model_validate_json(r.value or b"").verdict.claims
            assert any(c.margins for c in claims), "they hang on the vectors"

    def again(self) -> dict[str, float]:
        """Send all once more; the same comes back. What the look-ups in the cache came to."""
        before = self._lookups()
        for topic, asked in self._asked.items():
            self.cluster.send(*asked, topic=topic)
        self._rounds += 1
        answers = [
            r
            for topic in (DETECTED, ISSUED)
            for r in self.cluster.read(topic.name, self._rounds * len(NAMES), SETTLE_S)
        ]
        for r in answers:
            assert r.value == self._first[r.header("ce_type"), r.header("ce_id")]
        assert all(self.cluster.end(topic.name) == 0 for topic in DEAD_TOPICS)
        assert self.worker.process.poll() is None
        after = self._lookups()
        return {result: after[result] - before.get(result, 0.0) for result in after}

    def empty(self) -> None:
        self._cache.flushdb()

    def _lookups(self) -> dict[str, float]:
        page = self.worker.page("metrics")[1].decode()
        found = re.findall(
            r'^telltale_embedding_lookups_total\{result="(\w+)"\} (\S+)$', page, re.M
        )
        return {"hit": 0.0, "miss": 0.0, "failed": 0.0} | {r: float(n) for r, n in found}


def judgment(found: RegionsDetected) -> JudgmentMade:
    """Claims about regions that are there, none of which asks the judge again."""
    geometry = [r.geometry() for r in found.detection.regions]
    placed = [
        (cue.cue_id, region.region_id)
        for cue in load_cues()
        if cue.verifier == "clip"
        for region in regions_for(cue.region, geometry)[:1]
    ][:CLAIMS]
    candidates = tuple(
        Candidate(cue_id=c, region_id=r, polarity="artifact", similarity=0.2, documents=(), exemplars=())
        for c, r in placed
    )  # fmt: skip
    claims = tuple(
        JudgedClaim(cue_id=c, region_id=r, polarity="artifact", sentence="It is odd.", confidence=0.7)
        for c, r in placed
    )  # fmt: skip
    return JudgmentMade(
        **found.model_dump(),
        retrieval=Retrieval(candidates=candidates, corpus="c"),
        judgment=Judgment(
            status="ok", verdict="manipulated", confidence=0.7, observations=(), claims=claims, judge="j"
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def looking(stack, tmp_path_factory) -> Iterator[Looking]:
    """Started while the cache is away, so that the first answers are made without one."""
    url = urlsplit(stack.redis_url)
    gate = Gate(url.port or 0)
    gate.shut()
    behind = url._replace(netloc=url.netloc.replace(str(url.port), str(gate.port)), path=DATABASE)
    cache = redis.Redis.from_url(urlunsplit(url._replace(path=DATABASE)))
    cache.flushdb()
    cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("looking"))
    asyncio.run(create_topics(cluster.settings))
    given = {
        "TELLTALE_REDIS_URL": urlunsplit(behind),
        "TELLTALE_POSTGRES_DSN": stack.postgres_dsn,
        "TELLTALE_THREADS": "1",
    }
    with launched(cluster, TELLTALE, "worker", "detect", "verify", **given) as worker:
        worker.ready(START_S)
        made = Looking(cluster, worker, gate, cache)
        made.begin()
        gate.open()
        yield made
    gate.shut()
    cache.flushdb()


@pytest.fixture
def filled(looking) -> Looking:
    """The cache answers, and holds all there is to look up."""
    wait(lambda: only(looking.again(), "hit"), SETTLE_S, "all from the cache")
    return looking


def only(lookups: dict[str, float], result: str) -> bool:
    """Whether there were look-ups, and all came to that."""
    return lookups[result] == sum(lookups.values()) > 0


def test_without_the_cache_the_same_is_answered(filled) -> None:
    filled.gate.shut()
    try:
        assert only(filled.again(), "failed")
    finally:
        filled.gate.open()


def test_with_a_slow_cache_the_same_is_answered(filled) -> None:
    filled.gate.delay_s = 3.0  # longer than the settings let it take
    try:
        assert only(filled.again(), "failed")
    finally:
        filled.gate.delay_s = 0.0


def test_with_a_cache_that_was_emptied_the_same_is_answered_and_it_fills_again(filled) -> None:
    filled.empty()
    lookups = filled.again()
    assert lookups["miss"] > 0
    assert lookups["failed"] == 0
    assert only(filled.again(), "hit")
