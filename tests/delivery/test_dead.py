"""``telltale dead``: what a person can do about events that could not be finished."""

from __future__ import annotations

import base64
import json
import time

import pytest
from click.testing import CliRunner
from harness import Cluster, Record, second_after, upload

from telltale.commands.dead import dead
from telltale.delivery.topics_admin import create_topics


@pytest.fixture(scope="module")
def cluster(stack, tmp_path_factory) -> Cluster:
    return Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("dead"))


@pytest.fixture(scope="module")
def sent(cluster) -> dict[str, Record]:
    """Four uploads of which three are dead: two failed, one was unreadable."""
    import asyncio

    asyncio.run(create_topics(cluster.settings))
    sent = {
        "fails-1": upload("fails-1", "fail"),
        "fails-2": upload("fails-2", "fail"),
        "garbage": Record(b"garbage", b"\xff\xfe", (("x", b"\x00"), ("x", b"\x01"))),
        "good": upload("good"),
    }
    cluster.send(*sent.values())
    with cluster.worker("batched", TELLTALE_ATTEMPTS="1"):
        cluster.read("images.uploaded.dead", least=3)
        cluster.answers({"good"})
    return sent


@pytest.fixture
def telltale(cluster, monkeypatch):
    monkeypatch.setenv("TELLTALE_KAFKA_BOOTSTRAP", cluster.bootstrap)
    monkeypatch.setenv("TELLTALE_TOPIC_PREFIX", cluster.prefix)
    monkeypatch.setenv("TELLTALE_POSTGRES_DSN", "postgresql://not-used")
    monkeypatch.setenv("TELLTALE_REDIS_URL", "redis://not-used")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(dead, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def listed(telltale, *filters: str) -> dict[str, dict]:
    return {x["key"]: x for x in json.loads(telltale("list", "--json", *filters))}


def test_dead_letters_are_listed_by_stage_error_and_time(sent, telltale) -> None:
    assert set(listed(telltale)) == {"fails-1", "fails-2", "garbage"}
    assert set(listed(telltale, "--error", "EventUnreadable")) == {"garbage"}
    assert set(listed(telltale, "--stage", "batched")) == {"fails-1", "fails-2", "garbage"}
    assert listed(telltale, "--stage", "judge") == {}
    assert listed(telltale, "--until", "2020-01-01") == {}
    assert len(listed(telltale, "--since", "2020-01-01")) == 3
    assert "EventUnreadable" in telltale("list")


def test_a_time_between_two_deaths_parts_them(stack, tmp_path, telltale, monkeypatch) -> None:
    apart = Cluster(stack.kafka_bootstrap, tmp_path)
    monkeypatch.setenv("TELLTALE_TOPIC_PREFIX", apart.prefix)
    apart.send(upload("early"), topic="images.uploaded.dead")
    when = second_after(*apart.read("images.uploaded.dead", least=1))
    apart.send(upload("late"), topic="images.uploaded.dead")
    apart.read("images.uploaded.dead", least=2)
    of, then = ("--topic", "images.uploaded"), f"{when:%Y-%m-%dT%H:%M:%S}"
    assert set(listed(telltale, *of, "--until", then)) == {"early"}
    assert set(listed(telltale, *of, "--since", then)) == {"late"}
    assert listed(telltale, *of, "--since", then, "--until", then) == {}
    assert "1 in all" in telltale("redrive", "--all", *of, "--since", then)
    assert "1 dropped" in telltale("drop", "--all", *of, "--until", then, "--yes")
    assert set(listed(telltale, *of)) == {"late"}


def test_the_original_is_shown_as_it_came(sent, telltale) -> None:
    letter = listed(telltale)["garbage"]
    shown = json.loads(telltale("show", letter["id"], "--json"))
    assert base64.b64decode(shown["value_base64"]) == b"\xff\xfe"
    headers = [(name, base64.b64decode(value)) for name, value in shown["headers_base64"]]
    assert headers == [("x", b"\x00"), ("x", b"\x01")]
    assert "EventUnreadable" in telltale("show", letter["id"])


def test_redriving_says_what_it_would_do_and_does_it_when_told(sent, telltale, cluster) -> None:
    before = cluster.end("images.uploaded")
    letter = listed(telltale)["fails-1"]["id"]
    assert "say --yes" in telltale("redrive", letter)
    assert cluster.end("images.uploaded") == before
    assert "1 redriven" in telltale("redrive", letter, "--yes", "--rate", "50")
    again = [r for r in cluster.read("images.uploaded") if r.key == b"fails-1"]
    assert [r.content for r in again] == [sent["fails-1"].content] * 2
    assert "fails-1" not in listed(telltale)
    assert listed(telltale, "--handled")["fails-1"]["handled"] == "redriven"


def test_several_are_redriven_at_a_rate_and_the_dry_run_says_how_long_it_takes(
    sent, telltale, cluster
) -> None:
    letters = listed(telltale, "--handled")
    ids = [letters["fails-1"]["id"], letters["fails-2"]["id"]]
    assert "2 in all in about 1 s" in telltale("redrive", *ids, "--rate", "2")
    before, began = cluster.end("images.uploaded"), time.monotonic()
    assert "2 redriven" in telltale("redrive", *ids, "--rate", "2", "--yes")
    assert time.monotonic() - began >= 1
    assert cluster.end("images.uploaded") == before + 2
    assert set(listed(telltale)) <= {"garbage"}


def test_dropped_letters_are_no_longer_listed(sent, telltale, cluster) -> None:
    before = cluster.end("images.uploaded")
    telltale("drop", "--all", "--error", "EventUnreadable", "--yes")
    assert "garbage" not in listed(telltale)
    assert listed(telltale, "--handled")["garbage"]["handled"] == "dropped"
    assert cluster.end("images.uploaded") == before


def test_an_id_that_is_none_is_a_usage_error(sent, telltale) -> None:
    from telltale.errors import UsageError

    with pytest.raises(UsageError, match=r"no dead letter images\.uploaded:0:999"):
        telltale("redrive", "images.uploaded:0:999", "--yes")
