"""What delivery promises of every stage, shown of each: the real stage in workers of the real command, on
real Kafka, PostgreSQL and Valkey, read by a stock client.

One fixture a stage (``stage_fixtures``), three workers each (``conforming``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from signal import SIGKILL

import pytest
from conforming import Answer, Evidence, Question, Round, Trial
from stage_fixtures import FIXTURES

from telltale.app import STAGES, Wiring
from telltale.commands.preparing import load_exemplars
from telltale.events import read_value, value_bytes
from telltale.settings import load_settings
from telltale.stores.migrate import migrate

AT_ONCE = 2  # stages on trial: a worker mostly loads, which takes one core, or is waited for
WHY = "telltale.errors."

pytestmark = pytest.mark.timeout(1200)  # whoever is asked first waits for another as well


def test_every_stage_has_a_fixture_which_asks_it_on_every_topic_that_it_reads() -> None:
    assert set(FIXTURES) == set(STAGES)
    for name, fixture in FIXTURES.items():
        assert fixture.stage.name == name
        assert {type(asked.event) for asked in fixture.good} == set(fixture.stage.reads)


@pytest.fixture(scope="module")
def trials(request, stack, stack_home, tmp_path_factory) -> Iterator[dict[str, Future[Evidence]]]:
    """The stages that this run asks about, on trial."""
    wiring = Wiring(load_settings(home=stack_home, **_servers(stack)))
    migrate(wiring.postgres_dsn)
    wiring.load_cues()
    load_exemplars(wiring)
    wiring.cue_store.close()
    asked = [item for item in request.session.items if item.module is request.module]
    stages = {i.callspec.params["evidence"] for i in asked if hasattr(i, "callspec")}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            stage: pool.submit(Trial(stage, stack, tmp_path_factory.mktemp(stage)).run)
            for stage in STAGES
            if stage in stages
        }


def _servers(stack) -> dict[str, str]:
    names = ("kafka_bootstrap", "postgres_dsn", "redis_url")
    return {name: getattr(stack, name) for name in names}


@pytest.fixture(scope="module", params=STAGES)
def evidence(request, trials) -> Evidence:
    return trials[request.param].result()


def of(made: Round, evidence: Evidence) -> list[Answer]:
    return [a for a in evidence.answers if made.holds(a.effect.image_id)]


def expected(questions: list[Question]) -> Counter:
    """Effects by how often they are had: as often as asked for, and rows once."""
    effects = [q.effect for q in questions if q.effect is not None]
    return Counter(set(effects) if questions[0].stage == "record" else effects)


def test_an_event_is_answered_with_its_type_under_the_one_id_that_follows_from_its_own(
    evidence,
) -> None:
    for made in (evidence.killed, evidence.handed_over):
        assert {a.effect for a in of(made, evidence)} == set(expected(made.asked))


def test_an_answer_carries_on_what_the_question_said(evidence) -> None:
    questions = {q.event.image_id: q for q in evidence.killed.asked + evidence.handed_over.asked}
    for answer in evidence.answers:
        question = questions[answer.effect.image_id]
        if evidence.stage == "record":
            assert answer.value == value_bytes(question.event)
            continue
        assert answer.key == question.event.image_id.encode()
        said = read_value(answer.effect.where, answer.value)
        for name in set(type(said).model_fields) & set(type(question.event).model_fields):
            assert getattr(said, name) == getattr(question.event, name), name


def test_the_same_event_again_has_the_same_answer_byte_for_byte(evidence) -> None:
    said: dict[str, set[bytes]] = {}
    for answer in evidence.answers:
        said.setdefault(answer.effect.event_id, set()).add(answer.value)
    assert [i for i, values in said.items() if len(values) > 1] == []


def test_a_message_that_cannot_be_finished_is_dead_byte_for_byte_and_its_neighbours_live(
    evidence,
) -> None:
    for made in (evidence.killed, evidence.handed_over):
        letters = [letter for letter in evidence.dead if made.holds(key(letter))]
        assert {letter.key for letter in letters} == set(made.bad)
        for letter in letters:
            assert letter.original == made.bad[letter.key][1].content
    assert all(
        evidence.killed.holds(key(r)) or evidence.handed_over.holds(key(r)) for r in evidence.dead
    )


def test_a_dead_letter_says_where_it_came_from_and_why(evidence) -> None:
    for letter in evidence.dead:
        made = next(m for m in (evidence.killed, evidence.handed_over) if m.holds(key(letter)))
        topic, _ = made.bad[letter.key]
        assert letter.header(f"{WHY}topic").endswith(topic)
        assert letter.header(f"{WHY}stage") == evidence.stage
        assert letter.header(f"{WHY}class") in letter.header(f"{WHY}stacktrace")
        assert letter.header(f"{WHY}first-failed").endswith("Z")
        assert int(letter.header(f"{WHY}partition")) in (0, 1)
        assert int(letter.header(f"{WHY}offset")) >= 0
        attempts, message = (letter.header(f"{WHY}{n}") for n in ("attempts", "message"))
        if letter.key == made.failing:
            assert (attempts, FIXTURES[evidence.stage].error in message) == ("3", True), message
        else:
            assert (attempts, letter.header(f"{WHY}class")) == ("1", "EventUnreadable")


def test_a_worker_told_to_end_hands_over_and_its_successor_repeats_nothing(evidence) -> None:
    made = evidence.handed_over
    assert Counter(a.effect for a in of(made, evidence)) == expected(made.asked)
    letters = [letter.key for letter in evidence.dead if made.holds(key(letter))]
    assert Counter(letters) == Counter(list(made.bad))
    assert evidence.ends[1:] == [0, 0]
    assert evidence.lag == 0


def test_a_worker_killed_before_it_acknowledged_loses_nothing_and_what_comes_again_is_a_repeat(
    evidence,
) -> None:
    made = evidence.killed
    assert evidence.ends[0] == -SIGKILL
    assert evidence.at_death, "it had answered some"
    assert evidence.lag_at_death > 0, "it had acknowledged less than all"
    had, owed = Counter(a.effect for a in of(made, evidence)), expected(made.asked)
    assert had >= owed
    assert set(had) == set(owed)
    if evidence.stage == "record":
        assert had == owed, "a row that is written again is one row"
    else:
        letters = sum(made.holds(key(letter)) for letter in evidence.dead)
        assert had.total() + letters > owed.total() + len(made.bad), "some came again"


def key(letter) -> str:
    return (letter.key or b"").decode()
