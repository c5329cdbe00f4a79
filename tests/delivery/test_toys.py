"""What a stage may rely on whatever its batches are, asked of toys that can be told to misbehave: on real
Kafka, by a stock client."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from harness import Cluster, Record, upload

from telltale.events import ImageUploaded, derived_id

GOOD = 60
STAGES = ("batched", "single", "preparing")


@dataclass
class Evidence:
    """What went in, and what came out once everything had been answered."""

    stage: str
    sent: dict[str, Record]
    answers: list[Record]
    dead: list[Record]


@pytest.fixture(scope="module", params=STAGES)
def evidence(request, stack, tmp_path_factory) -> Evidence:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("conformance"))
    sent = {f"good-{i}": upload(f"good-{i}") for i in range(GOOD)}
    bad = {
        "raises": upload("raises", "raise"),
        "fails": upload("fails", "fail"),
        "second": upload("second", "once", seen=str(cluster.folder / "seen")),
        "not-json": Record(b"not-json", b"\xff\x00{", (("x", b"\x00\xff"), ("x", b"again"))),
        "tombstone": Record(b"tombstone", None, ()),
        "wrong-type": Record(
            b"wrong-type", upload("wrong-type").value, (("ce_type", b"another.v1"),)
        ),
        "no-headers": Record(None, upload("no-headers").value, ()),
    }
    mixed = list(sent.values())
    for place, record in enumerate(bad.values()):
        mixed.insert(5 + 7 * place, record)
    cluster.send(*mixed)
    with cluster.worker(request.param) as worker:
        worker.ready()
        dead = cluster.read("images.uploaded.dead", least=5)
        answers = cluster.read("images.admitted", least=GOOD + 2)
        worker.process.terminate()
        assert worker.ended() == 0, worker.text
    return Evidence(request.param, {**sent, **bad}, answers, dead)


def test_every_event_has_exactly_one_answer(evidence) -> None:
    answered = sorted(r.header("ce_subject") for r in evidence.answers)
    assert answered == sorted([*(f"good-{i}" for i in range(GOOD)), "second", "no-headers"])


def test_a_bad_event_costs_only_itself(evidence) -> None:
    died = {r.key for r in evidence.dead}
    assert died == {b"raises", b"fails", b"not-json", b"tombstone", b"wrong-type"}
    assert len(evidence.dead) == 5


def test_a_dead_letter_is_the_message_byte_for_byte(evidence) -> None:
    for letter in evidence.dead:
        assert letter.key is not None
        assert letter.original == evidence.sent[letter.key.decode()].content


def test_a_dead_letter_says_where_it_came_from_and_why(evidence) -> None:
    letters = {r.key: r for r in evidence.dead}
    raised = letters[b"raises"]
    assert raised.header("telltale.errors.topic").endswith("images.uploaded")
    assert raised.header("telltale.errors.stage") == evidence.stage
    assert raised.header("telltale.errors.class") == "RuntimeError"
    assert raised.header("telltale.errors.message") == "asked to raise"
    assert "RuntimeError: asked to raise" in raised.header("telltale.errors.stacktrace")
    assert raised.header("telltale.errors.first-failed").endswith("Z")
    assert int(raised.header("telltale.errors.offset")) >= 0


def test_a_failing_event_is_tried_as_often_as_the_settings_say_and_an_unreadable_one_once(
    evidence,
) -> None:
    attempts = {r.key: r.header("telltale.errors.attempts") for r in evidence.dead}
    assert attempts[b"raises"] == attempts[b"fails"] == "3"
    assert attempts[b"not-json"] == attempts[b"tombstone"] == attempts[b"wrong-type"] == "1"


def test_an_answer_has_the_key_of_its_image_and_an_id_derived_from_its_question(evidence) -> None:
    for answer in evidence.answers:
        image = answer.header("ce_subject")
        assert answer.key == image.encode()
        assert answer.header("ce_type") == "telltale.image.admitted.v1"
        if image.startswith("good"):
            parent = ImageUploaded.model_validate_json(evidence.sent[image].value or b"")
            assert parent.image_id == image
            asked = dict(evidence.sent[image].headers)["ce_id"].decode()
            assert answer.header("ce_id") == derived(asked, evidence.stage)


def derived(parent: str, stage: str) -> str:
    from uuid import UUID

    return str(derived_id(UUID(parent), stage, "1", None, "telltale.image.admitted.v1"))
