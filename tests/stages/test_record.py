"""record: each verdict and explanation once, in whatever order and however often they come."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest

from telltale.errors import DependencyAway
from telltale.events import Envelope, Event, ExplanationReady, VerdictIssued
from telltale.stages.contract import Answered, Item
from telltale.stages.record import Record
from telltale.stores.migrate import migrate
from telltale.stores.verdicts import VerdictStore
from tests.contract.samples import AT, UPLOAD, VERDICT, events

ISSUED, REJECTED = (e for e in events() if isinstance(e, VerdictIssued))
EXPLAINED = next(e for e in events() if isinstance(e, ExplanationReady))


def item(event: Event, event_id=VERDICT) -> Item:
    envelope = Envelope(id=event_id, type=event.type_name, subject=event.image_id, time=AT)
    return Item(event, envelope)


@pytest.fixture
def database(fresh_database: str) -> str:
    migrate(fresh_database)
    return fresh_database


@pytest.fixture
def store(database: str):
    made = VerdictStore(database)
    yield made
    made.close()


def test_a_batch_of_both_kinds_is_kept_and_every_event_answered(store) -> None:
    done = Record(store).process([item(EXPLAINED, UPLOAD), item(ISSUED)])
    assert done == [Answered(), Answered()]
    (kept,) = store.of_image(ISSUED.image_id)
    assert (kept.verdict_id, kept.verdict, kept.explanation) == (VERDICT, ISSUED, EXPLAINED)


def test_repeats_leave_one_row_of_each(store, database) -> None:
    stage = Record(store)
    for _ in range(2):
        stage.process([item(ISSUED), item(EXPLAINED, UPLOAD), item(ISSUED)])
    with psycopg.connect(database) as db:
        for table in ("verdicts", "claims", "explanations", "images"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,), table


def test_a_rejection_is_kept_with_its_code(store) -> None:
    Record(store).process([item(REJECTED)])
    (kept,) = store.of_image(REJECTED.image_id)
    assert kept.verdict.verdict.code == "not_an_image"
    assert kept.explanation is None


def test_verdicts_are_found_by_what_they_say_and_since_when(store) -> None:
    Record(store).process([item(ISSUED), item(REJECTED, UPLOAD)])
    assert [r.verdict for r in store.latest(9, verdict="rejected")] == [REJECTED]
    assert len(store.latest(9)) == 2
    newest, earlier = (r.recorded_at for r in store.latest(9))
    assert len(store.latest(9, since=earlier)) == 2
    assert len(store.latest(9, since=newest)) == 1
    assert store.latest(9, since=newest.replace(year=newest.year + 1)) == []


REPLAYED = ISSUED.model_copy(update={"replay_id": "r1"})


def holding(store) -> list[tuple[UUID, bool]]:
    """All verdicts on the image, the one that holds first, and whether each is in a shadow."""
    return [(r.verdict_id, r.shadow) for r in store.of_image(ISSUED.image_id)]


def test_a_verdict_from_a_replays_own_topics_does_not_replace_the_live_one(store) -> None:
    Record(store, "p.").process([item(ISSUED)])
    Record(store, "p.r1.").process([item(REPLAYED, UPLOAD)])
    assert holding(store) == [(VERDICT, False), (UPLOAD, True)]
    assert [r.verdict_id for r in store.latest(9)] == [VERDICT]


def test_a_replayed_verdict_on_the_live_topic_replaces_the_earlier_one(store) -> None:
    # one batch: neither may hide behind the other's time
    Record(store, "p.").process([item(ISSUED), item(REPLAYED, UPLOAD)])
    assert holding(store) == [(UPLOAD, False), (VERDICT, False)]
    Record(store, "p.").process([item(ISSUED)])  # a late repeat of the original changes nothing
    assert holding(store) == [(UPLOAD, False), (VERDICT, False)]


def test_a_verdict_recorded_from_the_shadow_first_is_replaced_all_the_same(store) -> None:
    Record(store, "p.r1.").process([item(REPLAYED, UPLOAD)])
    Record(store, "p.").process([item(ISSUED), item(REPLAYED, UPLOAD)])
    Record(store, "p.r1.").process([item(REPLAYED, UPLOAD)])
    assert holding(store) == [(UPLOAD, False), (VERDICT, False)]


def test_a_stray_nul_from_an_uploader_does_not_keep_a_verdict_from_being_recorded(store) -> None:
    odd = ISSUED.model_copy(update={"image_id": "a\0b", "context": {"k\0": "v\0"}})
    Record(store).process([item(odd)])
    (kept,) = store.of_image("a\0b")
    assert kept.verdict.context == {"k\ufffd": "v\ufffd"}


def test_a_database_that_is_away_keeps_the_whole_batch_waiting() -> None:
    store = VerdictStore("postgresql://x@127.0.0.1:1/x")
    with pytest.raises(DependencyAway, match="postgres"):
        Record(store).process([item(ISSUED)])
    store.close()
