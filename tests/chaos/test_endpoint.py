"""A multimodal endpoint at fault, seen from Kafka: the real judge stage in a worker of the real command,
against an HTTP server that misbehaves. That verify makes ``inconclusive`` of every judgment that is not
``ok``, with its reason, is shown in tests/stages/test_verify.py."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event as Flag
from threading import Thread
from typing import ClassVar
from uuid import uuid4

import numpy as np
import pytest
from harness import Cluster, Record, Worker, wait
from launching import SETTLE_S, START_S, TELLTALE, launched
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from tests.contract.samples import AT, events

from telltale.delivery.topics_admin import create_topics
from telltale.events import CuesRetrieved, Envelope, JudgmentMade, value_bytes
from telltale.stores.images import ImageStore
from telltale.topics import JUDGED, RETRIEVED

RETRIEVED_EVENT = next(e for e in events() if isinstance(e, CuesRetrieved))

TIMEOUT_S, ATTEMPTS, RETRY_AFTER_S = 6, 2, 3
ANSWER = {
    "observations": ["an eye"], "counter_evidence": [], "verdict": "authentic", "confidence": 0.6, "claims": [],
}  # fmt: skip


class Endpoint(BaseHTTPRequestHandler):
    """Misbehaves as ``faults`` says, one entry a request; well-behaved when it is empty."""

    faults: ClassVar[list[str]] = []
    asked_at: ClassVar[list[float]] = []
    leave = Flag()

    def do_POST(self) -> None:
        self.asked_at.append(time.monotonic())
        self.rfile.read(int(self.headers["content-length"]))
        match self.faults.pop(0) if self.faults else "well":
            case "busy":
                self._say(429, "slow down", ("retry-after", str(RETRY_AFTER_S)))
            case "broken":
                self._say(500, "out of memory")
            case "nonsense":
                self._say(200, json.dumps(said("It looks fine to me!")))
            case "nothing":
                self.leave.wait(2 * TIMEOUT_S)
            case _:
                self._say(200, json.dumps(said(json.dumps(ANSWER))))

    def _say(self, status: int, body: str, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("content-length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing: pytest shows what fails."""


def said(text: str) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        Endpoint.leave.set()
        server.shutdown()


class Asking:
    """A judge worker and what it makes of pictures."""

    def __init__(self, cluster: Cluster, sha256: str, worker: Worker) -> None:
        self.cluster, self._sha256, self.worker = cluster, sha256, worker

    def judged(self, *faults: str) -> JudgmentMade:
        """The judgment of a new picture under these faults."""
        Endpoint.faults[:], Endpoint.asked_at[:] = faults, []
        image = RETRIEVED_EVENT.image.model_copy(update={"sha256": self._sha256})
        name = uuid4().hex
        event = RETRIEVED_EVENT.model_copy(update={"image": image, "image_id": name})
        envelope = Envelope(id=uuid4(), type=event.type_name, subject=name, time=AT)
        record = Record(name.encode(), value_bytes(event), tuple(envelope.headers()))
        self.cluster.send(record, topic=RETRIEVED.name)
        answers: list[Record] = []

        def answered() -> bool:
            answers[:] = [r for r in self.cluster.read(JUDGED.name) if r.key == name.encode()]
            return bool(answers)

        wait(answered, SETTLE_S, f"a judgment in spite of {faults}")
        assert self.cluster.end(RETRIEVED.dead.name) == 0
        return JudgmentMade.model_validate_json(answers[0].value or b"")


@pytest.fixture(scope="module")
def asking(stack, endpoint, tmp_path_factory) -> Iterator[Asking]:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("judge"))
    topics = (RETRIEVED, JUDGED, RETRIEVED.dead, JUDGED.dead)
    asyncio.run(create_topics(cluster.settings, topics))
    picture = io.BytesIO()
    Image.fromarray(np.full((480, 640, 3), 128, np.uint8)).save(picture, "PNG")
    pictures = f"file://{cluster.folder / 'images'}"
    sha256 = ImageStore(pictures, {}).put(picture.getvalue())
    given = {
        "TELLTALE_PROFILE": "standard",
        "TELLTALE_JUDGE_ENDPOINT": endpoint,
        "TELLTALE_JUDGE_MODEL": "some-vlm",
        "TELLTALE_JUDGE_TIMEOUT_S": str(TIMEOUT_S),
        "TELLTALE_JUDGE_ATTEMPTS": str(ATTEMPTS),
        "TELLTALE_IMAGES_URL": pictures,
        "TELLTALE_POSTGRES_DSN": stack.postgres_dsn,
        "TELLTALE_REDIS_URL": stack.redis_url,
    }
    with launched(cluster, TELLTALE, "worker", "judge", **given) as worker:
        worker.ready(START_S)
        yield Asking(cluster, sha256, worker)


def test_a_busy_endpoint_is_asked_again_when_it_said(asking) -> None:
    judgment = asking.judged("busy").judgment
    assert judgment.status == "ok", judgment.reason
    first, second = Endpoint.asked_at
    assert second - first >= RETRY_AFTER_S


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("busy", "unavailable", "429 slow down"),
        ("broken", "unavailable", "500 out of memory"),
        ("nonsense", "unreadable", ""),
        ("nothing", "late", f"no answer within {TIMEOUT_S} s"),
    ],
)
def test_an_endpoint_that_does_not_recover_gives_a_judgment_that_says_so(
    asking, fault, status, reason
) -> None:
    judgment = asking.judged(*[fault] * ATTEMPTS).judgment
    assert (judgment.status, judgment.verdict) == (status, "inconclusive")
    assert reason in judgment.reason
    assert len(Endpoint.asked_at) == ATTEMPTS


def test_an_endpoint_that_answers_nobody_is_shown_and_holds_up_nothing(asking) -> None:
    def shown() -> tuple[dict[str, float], object]:
        families = text_string_to_metric_families(asking.worker.page("metrics")[1].decode())
        found = {
            s.labels.get("status", s.labels.get("dependency")): s.value
            for f in families
            for s in f.samples
            if s.name in ("telltale_judgments_total", "telltale_dependency_up")
        }
        return found, asking.worker.health("judge")["without"]

    asking.judged()
    before, without = shown()
    assert (before["judge endpoint"], without) == (1, {})
    asking.judged(*["broken"] * ATTEMPTS)
    found, without = shown()
    assert found["judge endpoint"] == 0
    assert "500 out of memory" in without["judge endpoint"]
    assert asking.worker.health("judge")["away"] == {}
    assert asking.worker.page("healthz")[0] == asking.worker.page("readyz")[0] == 200
    assert found["unavailable"] == before["unavailable"] + 1
    asking.judged()
    found, without = shown()
    assert (found["judge endpoint"], without) == (1, {})


def test_the_next_picture_is_judged_as_if_nothing_had_been(asking) -> None:
    assert asking.judged().judgment.verdict == "authentic"
