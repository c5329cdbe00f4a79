"""``telltale replay --diff`` and ``--promote``: what a replay changes, and making it so."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import timedelta

import pytest
from click.testing import CliRunner
from harness import WHEN, Cluster, Record, upload
from tests.contract.samples import events

from telltale.commands.replay import replay
from telltale.delivery.comparing import Answer, compare
from telltale.delivery.promoting import Promotion
from telltale.delivery.topics_admin import create_topics
from telltale.errors import UsageError
from telltale.events import (
    PROMOTED,
    Envelope,
    Event,
    ExplanationReady,
    VerdictIssued,
    derived_id,
    value_bytes,
)

ISSUED = next(e for e in events() if isinstance(e, VerdictIssued))
DRAWN = next(e for e in events() if isinstance(e, ExplanationReady))
CLAIM = ISSUED.verdict.claims[0]


def verdict(image: str, label: str, probability: float, **more) -> VerdictIssued:
    """A verdict; ``status`` of its one claim, ``policy``, ``replay_id`` and ``at`` may be given."""
    claims = (CLAIM.model_copy(update={"status": more.get("status", "supported")}),)
    made_by = ISSUED.verdict.provenance.model_copy(update={"policy": more.get("policy", "p1")})
    changed = {
        "verdict": label,
        "probability": probability,
        "claims": claims,
        "provenance": made_by,
    }
    said = ISSUED.verdict.model_copy(update=changed)
    return ISSUED.model_copy(
        update={
            "image_id": image, "uploaded_at": more.get("at", WHEN), "verdict": said,
            "replay_id": more.get("replay_id"),
        }
    )  # fmt: skip


def answers(*issued: VerdictIssued) -> dict[str, Answer]:
    return {e.image_id: Answer.of(e) for e in issued}


OLD = answers(
    verdict("a", "manipulated", 0.9),
    verdict("b", "authentic", 0.1),
    verdict("c", "inconclusive", 0.5),
    verdict("only-old", "authentic", 0.2),
)
NEW = answers(
    verdict("a", "manipulated", 0.8, policy="p2"),
    verdict("b", "manipulated", 0.7, policy="p2", status="contradicted"),
    verdict("c", "inconclusive", 0.5),
    verdict("only-new", "authentic", 0.2),
)


def test_verdicts_that_flip_are_counted_by_old_and_new() -> None:
    said = compare("r", OLD, NEW).public()
    assert said["matrix"] == {
        "manipulated": {"manipulated": 1},
        "authentic": {"manipulated": 1},
        "inconclusive": {"inconclusive": 1},
    }
    assert said["flips"] == 1
    assert said["flipped"] == [{"image_id": "b", "old": "authentic", "new": "manipulated"}]


def test_images_that_one_side_did_not_answer_are_named() -> None:
    found = compare("r", OLD, NEW, replayed={"a", "only-old", "nobody"})
    assert (found.only_old, found.only_new, found.unanswered) == (
        ["only-old"], ["only-new"], ["nobody"],
    )  # fmt: skip


def test_probabilities_move_by_mean_quantiles_and_largest() -> None:
    moved = compare("r", OLD, NEW).probability()
    assert (moved["images"], moved["mean"], moved["mean_size"]) == (3, 0.1667, 0.2333)
    assert moved["quantiles"]["0.5"] == 0
    assert moved["largest"] == [
        {"image_id": "b", "shift": 0.6},
        {"image_id": "a", "shift": -0.1},
    ]


def test_what_moves_is_told_by_policy_and_model() -> None:
    rows = compare("r", OLD, NEW).by_version()
    policy = [r for r in rows if r["what"] == "policy"]
    assert [(r["old"], r["new"], r["images"], r["flips"]) for r in policy] == [
        ("p1", "p1", 1, 0),
        ("p1", "p2", 2, 1),
    ]
    assert {"judge", "encoder", "detector", "corpus", "stage verify"} <= {r["what"] for r in rows}


def test_claims_whose_check_came_out_otherwise_are_told_by_cue() -> None:
    other = CLAIM.model_copy(update={"cue_id": "new.cue", "claim_id": "new.cue@0.face"})
    more = verdict("a", "manipulated", 0.8)
    more = more.model_copy(
        update={"verdict": more.verdict.model_copy(update={"claims": (CLAIM, other)})}
    )
    cues = compare("r", OLD, {**NEW, **answers(more)}).by_cue()
    assert cues[CLAIM.cue_id] == {
        "same": 2, "changed": {"supported -> contradicted": 1}, "new": 0, "gone": 0,
    }  # fmt: skip
    assert cues["new.cue"] == {"same": 0, "changed": {}, "new": 1, "gone": 0}


def test_nothing_in_common_is_said_so_and_nothing_divided_by_it() -> None:
    said = compare("r", {}, NEW).public()
    assert (said["compared"], said["flips"], said["probability"]["images"]) == (0, 0, 0)


# ---- on a real broker: uploads replayed for real, verdicts written as the stages would


def message(event: Event, parent: str) -> Record:
    """An event as a stage sends it."""
    replay_id = event.replay_id
    made = derived_id(uuid.uuid5(uuid.NAMESPACE_URL, parent), "t", "1", replay_id, event.type_name)
    envelope = Envelope(id=made, type=event.type_name, subject=event.image_id, time=WHEN)
    return Record(event.image_id.encode(), value_bytes(event), tuple(envelope.headers()))


def drawing(of: Record) -> Record:
    event = VerdictIssued.model_validate_json(of.value)
    drawn = DRAWN.model_copy(
        update={
            "image_id": event.image_id, "verdict_id": uuid.UUID(of.header("ce_id")),
            "replay_id": event.replay_id,
        }
    )  # fmt: skip
    return message(drawn, event.image_id)


class Replayed:
    """A broker with live answers to a, b, c, d and a replay that has answered a, b and c."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        asyncio.run(create_topics(cluster.settings))
        cluster.send(*(upload(i) for i in "abcd"))
        self.live = [
            message(verdict("a", "manipulated", 0.9), "a"),
            message(verdict("b", "manipulated", 0.9), "b-first"),
            message(verdict("b", "authentic", 0.1), "b"),
            message(verdict("c", "inconclusive", 0.5), "c"),
            message(verdict("d", "authentic", 0.1), "d"),
        ]
        cluster.send(*self.live, topic="verdicts.issued")
        self.name = self.telltale("--yes")["replay_id"]
        new = {"policy": "p2", "replay_id": self.name}
        self.shadow = [
            message(verdict("a", "manipulated", 0.8, **new), "a"),
            message(verdict("b", "manipulated", 0.7, status="contradicted", **new), "b"),
            message(verdict("c", "inconclusive", 0.5, **new), "c"),
        ]
        # a repeat is a second message and no second verdict
        cluster.send(*self.shadow, self.shadow[0], topic=f"{self.name}.verdicts.issued")
        cluster.send(*map(drawing, self.shadow[:2]), topic=f"{self.name}.explanations.ready")

    def run(self, *arguments: str) -> str:
        done = CliRunner().invoke(
            replay, ["images.uploaded", *arguments], catch_exceptions=False, env=self.variables
        )
        assert done.exit_code == 0, done.output
        return done.output

    def telltale(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json"))

    @property
    def variables(self) -> dict[str, str]:
        return {
            "TELLTALE_KAFKA_BOOTSTRAP": self.cluster.bootstrap,
            "TELLTALE_TOPIC_PREFIX": self.cluster.prefix,
            "TELLTALE_POSTGRES_DSN": "postgresql://not-used",
            "TELLTALE_REDIS_URL": "redis://not-used",
            "TELLTALE_KAFKA_PARTITIONS": "2",
        }

    def promotion(self) -> Promotion:
        prefix = f"{self.cluster.prefix}{self.name}."
        return Promotion(self.cluster.settings, "images.uploaded", self.name, prefix)

    def ends(self) -> list[int]:
        return [self.cluster.end(t) for t in ("verdicts.issued", "explanations.ready")]

    def promoted(self, topic: str) -> list[Record]:
        """What of this replay lies on a live topic."""
        mark = f'"replay_id":"{self.name}"'.encode()
        return [r for r in self.cluster.read(topic) if mark in (r.value or b"")]


@pytest.fixture
def replayed(cluster) -> Replayed:
    return Replayed(cluster)


def test_a_replay_is_compared_with_the_latest_live_verdicts_and_nothing_is_sent(
    replayed, tmp_path
) -> None:
    before, plot = replayed.ends(), tmp_path / "diff.png"
    said = replayed.telltale("--diff", "--plot", str(plot))
    assert (said["replay_id"], said["compared"], said["flips"]) == (replayed.name, 3, 1)
    assert said["flipped"] == [{"image_id": "b", "old": "authentic", "new": "manipulated"}]
    assert (said["only_old"], said["only_new"]) == (["d"], [])
    assert plot.read_bytes().startswith(b"\x89PNG")
    shown = replayed.run("--diff", "--replay-id", replayed.name)
    assert "1 of 3 verdicts flip" in shown
    assert CLAIM.cue_id in shown
    assert replayed.ends() == before


def test_comparing_a_replay_that_was_never_sent_says_what_to_do(replayed) -> None:
    with pytest.raises(UsageError, match=r"no replay never of images\.uploaded has been sent"):
        replayed.run("--diff", "--replay-id", "never")
    with pytest.raises(UsageError, match="no replay never"):
        replayed.run("--promote", "--replay-id", "never")


def test_promoting_is_counted_first_then_done_once(replayed) -> None:
    before = replayed.ends()
    said = replayed.telltale("--promote")
    counted = {k: said[k] for k in ("verdicts", "explanations", "undrawn", "unanswered", "sent")}
    assert counted == {
        "verdicts": 3, "explanations": 2, "undrawn": 1, "unanswered": 1, "sent": False,
    }  # fmt: skip
    assert replayed.ends() == before

    assert replayed.telltale("--promote", "--yes", "--rate", "100")["verdicts"] == 3
    assert replayed.ends() == [before[0] + 3, before[1] + 2]
    again = replayed.telltale("--promote", "--yes")
    assert (again["verdicts"], again["explanations"], again["already"]) == (0, 0, 3)
    assert replayed.ends() == [before[0] + 3, before[1] + 2]

    # the comparison is still with what was live before
    assert replayed.telltale("--diff")["flips"] == 1


def test_promoted_verdicts_are_the_replays_own_with_ids_and_bytes(replayed) -> None:
    replayed.telltale("--promote", "--yes")
    live = {r.key: r for r in replayed.promoted("verdicts.issued")}
    assert {k: (r.value, r.header("ce_id")) for k, r in live.items()} == {
        r.key: (r.value, r.header("ce_id")) for r in replayed.shadow
    }
    # with its explanation, or to be drawn by the live stage
    assert {k: r.header("ce_source") == PROMOTED for k, r in live.items()} == {
        b"a": True, b"b": True, b"c": False,
    }  # fmt: skip
    drawn = {r.key: r.value for r in replayed.promoted("explanations.ready")}
    assert drawn == {r.key: drawing(r).value for r in replayed.shadow[:2]}


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_an_interrupted_promotion_is_finished_by_the_same_command(replayed, after: int) -> None:
    left = iter([None] * after)

    def progress() -> None:
        if next(left, "none left"):
            raise Interrupted

    with pytest.raises(Interrupted):
        replayed.promotion().send(progress=progress)
    replayed.telltale("--promote", "--yes")
    for topic, count in (("verdicts.issued", 3), ("explanations.ready", 2)):
        ids = [r.header("ce_id") for r in replayed.promoted(topic)]
        assert len(ids) == len(set(ids)) == count


def test_the_answer_to_a_later_upload_is_not_overtaken_by_a_replay_of_an_earlier_one(
    replayed,
) -> None:
    later = verdict("a", "authentic", 0.2, at=WHEN + timedelta(hours=1))
    replayed.cluster.send(message(later, "a-again"), topic="verdicts.issued")
    said = replayed.telltale("--promote", "--yes")
    assert (said["verdicts"], said["superseded"], said["explanations"]) == (2, 1, 1)
    assert {r.key for r in replayed.promoted("verdicts.issued")} == {b"b", b"c"}


def test_options_that_contradict_each_other_are_refused(replayed) -> None:
    own_name = replayed.cluster.prefix.removesuffix(".")
    for arguments in (
        ("--diff", "--yes"), ("--diff", "--promote"), ("--plot", "x.png"), ("--promote", "--live"),
        ("--replay-id", own_name),  # its shadow could not be told from the live topics
    ):  # fmt: skip
        with pytest.raises(UsageError, match="--"):
            replayed.run(*arguments)
