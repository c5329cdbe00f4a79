"""``telltale replay``: past events once more, beside the live ones."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import timedelta, timezone

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException
from harness import Cluster, Record, second_after, upload, wait

from telltale.app import STAGES
from telltale.commands.replay import replay, stages_after
from telltale.commands.topics import READERS
from telltale.delivery.replaying import Counts, Replay, Selection, Target
from telltale.delivery.scanning import Stretch
from telltale.delivery.topics_admin import create_topics
from telltale.errors import UsageError


@pytest.fixture(scope="module")
def cluster(stack, tmp_path_factory) -> Cluster:
    cluster = Cluster(stack.kafka_bootstrap, tmp_path_factory.mktemp("replay"))
    asyncio.run(create_topics(cluster.settings))
    cluster.send(*(upload(f"i{i}") for i in range(30)), Record(b"garbage", b"{", ()))
    return cluster


@pytest.fixture
def telltale(cluster, monkeypatch):
    monkeypatch.setenv("TELLTALE_KAFKA_BOOTSTRAP", cluster.bootstrap)
    monkeypatch.setenv("TELLTALE_TOPIC_PREFIX", cluster.prefix)
    monkeypatch.setenv("TELLTALE_POSTGRES_DSN", "postgresql://not-used")
    monkeypatch.setenv("TELLTALE_REDIS_URL", "redis://not-used")
    monkeypatch.setenv("TELLTALE_KAFKA_PARTITIONS", "2")

    def run(*arguments: str) -> dict:
        result = CliRunner().invoke(replay, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    return run


def shadow(cluster: Cluster, said: dict) -> list[Record]:
    topic = said["prefix"].removeprefix(cluster.prefix) + "images.uploaded"
    return cluster.read(topic)


def sent(cluster: Cluster, topic: str) -> int:
    """Messages on a topic that may be too young to have told everybody who leads it."""
    try:
        return cluster.end(topic)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
            raise
        return 0


def test_a_dry_run_counts_and_sends_nothing(cluster, telltale) -> None:
    before = cluster.end("images.uploaded")
    said = telltale("images.uploaded")
    assert (said["events"], said["unreadable"], said["sent"]) == (30, 1, False)
    assert cluster.end("images.uploaded") == before


def test_a_dry_run_says_how_long_it_takes_or_that_it_does_not_know(telltale) -> None:
    assert telltale("images.uploaded", "--rate", "4")["expected_s"] == 7.5
    came = Counts(events=50, first_ms=10_000, last_ms=30_000)
    assert (came.expected_s(None), came.expected_s(10)) == (20, 5)
    assert Counts(events=50, first_ms=10_000, last_ms=10_001).expected_s(None) is None
    assert Counts().expected_s(None) is None


def test_a_dry_run_after_an_interruption_counts_what_is_left(telltale) -> None:
    telltale("images.uploaded", "--replay-id", "half", "--image", "i1", "--image", "i2", "--yes")
    said = telltale("images.uploaded", "--replay-id", "half")
    assert (said["events"], said["already"]) == (28, 2)


def test_a_rate_is_kept(cluster, telltale) -> None:
    began = time.monotonic()
    said = telltale("images.uploaded", "--replay-id", "slow", "--rate", "20", "--yes")
    assert said["events"] == 30
    assert time.monotonic() - began >= 30 / 20


def test_progress_reaches_its_total(cluster) -> None:
    replay = Replay(cluster.settings, Selection("images.uploaded", Stretch()))
    seen = []
    replay.count(Target("any", f"{cluster.prefix}any."), lambda: seen.append(1))
    replay.scan.close()
    assert len(seen) == replay.scan.total >= 31


def test_a_replay_killed_on_its_way_is_finished_by_the_same_command(cluster, telltale) -> None:
    shadow_of = {"topic_prefix": f"{cluster.prefix}killed."}
    asyncio.run(create_topics(cluster.settings.model_copy(update=shadow_of)))
    name = "killed.images.uploaded"
    command = "from telltale.cli import main; main()"
    arguments = ("replay", "images.uploaded", "--replay-id", "killed", "--rate", "2", "--yes")
    process = subprocess.Popen([sys.executable, "-c", command, *arguments])
    try:
        wait(lambda: sent(cluster, name) >= 3, 120, "a few events")
    finally:
        process.kill()
        process.wait()
    assert cluster.end(name) < 30
    said = telltale("images.uploaded", "--replay-id", "killed", "--yes")
    assert said["already"] + said["events"] == 30
    assert said["already"] >= 3
    ids = [r.header("ce_id") for r in shadow(cluster, said)]
    assert len(ids) == len(set(ids)) == 30


@pytest.mark.parametrize("name", ["a/b", "", " ", "x" * 61, "-x"])
def test_a_replay_id_that_cannot_name_topics_is_refused(cluster, name: str) -> None:
    with pytest.raises(UsageError, match="--replay-id"):
        Target(name, cluster.prefix)


def test_a_replay_goes_to_shadow_topics_and_leaves_the_live_ones_alone(cluster, telltale) -> None:
    before = cluster.end("images.uploaded")
    said = telltale("images.uploaded", "--image", "i3", "--image", "i7", "--yes")
    records = shadow(cluster, said)
    assert sorted(r.key for r in records) == [b"i3", b"i7"]
    assert all(json.loads(r.value)["replay_id"] == said["replay_id"] for r in records)
    assert cluster.end("images.uploaded") == before


def test_a_replayed_event_has_an_id_of_its_own_derived_from_its_original(cluster, telltale) -> None:
    said = telltale("images.uploaded", "--image", "i5", "--yes")
    (record,) = shadow(cluster, said)
    assert record.header("ce_id") != upload("i5").header("ce_id")
    assert record.header("telltale.replay.source").startswith("images.uploaded:")


def test_the_same_replay_again_goes_on_where_it_stopped(cluster, telltale) -> None:
    first = telltale("images.uploaded", "--replay-id", "again", "--image", "i1", "--yes")
    said = telltale("images.uploaded", "--replay-id", "again", "--yes")
    assert (first["events"], said["events"], said["already"]) == (1, 29, 1)
    assert len(shadow(cluster, said)) == 30


def test_the_same_selection_under_the_same_id_gives_the_same_bytes(cluster, telltale) -> None:
    one = telltale("images.uploaded", "--replay-id", "same", "--yes")
    original = {r.key: r for r in shadow(cluster, one)}
    live = telltale("images.uploaded", "--replay-id", "same", "--live", "--yes")
    assert live["prefix"] == cluster.prefix
    twice = [
        r for r in cluster.read("images.uploaded") if b'"replay_id":"same"' in (r.value or b"")
    ]
    assert len(twice) == 30
    for record in twice:
        bare = record.content
        assert bare == original[record.key].content


def test_every_topic_but_the_last_has_a_stage_to_run_over_its_replay() -> None:
    for topic, readers in READERS.items():
        first = [stage for stage in readers if stage != "record"]
        after = stages_after(topic)
        assert after == list(STAGES[STAGES.index(first[0]) : -1] if first else [])


def test_the_command_that_a_replay_prints_names_stages(cluster, telltale) -> None:
    given = ["verdicts.issued", "--replay-id", "drawn", "--yes"]
    done = CliRunner().invoke(replay, given, catch_exceptions=False)
    assert f"TELLTALE_TOPIC_PREFIX={cluster.prefix}drawn. telltale worker explain\n" in done.output


@pytest.mark.parametrize("more", [(), ("--yes",), ("--live", "--diff"), ("--live", "--promote")])
def test_explanations_are_replayed_onto_the_live_topics_or_not_at_all(telltale, more) -> None:
    with pytest.raises(UsageError, match=r"explanations\.ready: .*--live.*verdicts\.issued"):
        telltale("explanations.ready", *more)
    assert telltale("explanations.ready", "--live")["events"] == 0


def seen(said: dict) -> int:
    """Messages that a dry run has looked at, readable or not."""
    return said["events"] + said["unreadable"]


@pytest.fixture(scope="module")
def ends(cluster) -> dict[int, int]:
    """How many of the uploads lie in each partition."""
    live = cluster.read("images.uploaded")
    sent = [r.partition for r in live if not dict(r.headers).get("telltale.replay.source")]
    return {p: sent.count(p) for p in range(cluster.partitions)}


def test_a_partition_without_an_offset_is_left_out(telltale, ends) -> None:
    assert min(ends.values()) >= 4
    assert seen(telltale("images.uploaded", "--first", "0:1", "--last", "0:3")) == 3
    assert seen(telltale("images.uploaded", "--last", "1:1")) == 2
    assert seen(telltale("images.uploaded", "--first", "2:2")) == ends[2] - 2
    assert seen(telltale("images.uploaded", "--first", "0:2", "--last", "3:0")) == ends[0] - 1


def test_offsets_bound_each_partition_that_they_name(telltale) -> None:
    every = [a for p in range(4) for a in ("--last", f"{p}:1")]
    assert seen(telltale("images.uploaded", *every)) == 8
    assert seen(telltale("images.uploaded", "--last", "0:1", "--last", "2:0")) == 3


@pytest.mark.parametrize("option", ["--first", "--last"])
def test_a_partition_that_the_topic_does_not_have_is_an_error(telltale, option: str) -> None:
    with pytest.raises(UsageError, match=r"no partition 9; it has 0, 1, 2, 3"):
        telltale("images.uploaded", option, "0:1", option, "9:3")


def test_offsets_that_say_two_things_are_refused(telltale) -> None:
    with pytest.raises(UsageError, match=r"--last 0:1, 0:3"):
        telltale("images.uploaded", "--last", "0:1", "--last", "0:3")
    with pytest.raises(UsageError, match="PARTITION:OFFSET"):
        telltale("images.uploaded", "--first", "12")


def test_times_bound_a_replay(telltale) -> None:
    assert telltale("images.uploaded", "--until", "2020-01-01")["events"] == 0
    assert telltale("images.uploaded", "--since", "2020-01-01")["events"] == 30


def test_a_time_between_two_events_parts_them(stack, tmp_path, telltale, monkeypatch) -> None:
    apart = Cluster(stack.kafka_bootstrap, tmp_path)
    monkeypatch.setenv("TELLTALE_TOPIC_PREFIX", apart.prefix)
    apart.send(upload("early-1"), upload("early-2"))
    when = second_after(*apart.read("images.uploaded", least=2))
    apart.send(upload("late"))
    apart.read("images.uploaded", least=3)
    eastern = when.astimezone(timezone(timedelta(hours=2)))
    for text in (f"{when:%Y-%m-%dT%H:%M:%S}", f"{eastern:%Y-%m-%dT%H:%M:%S%z}"):

        def events(*given: str, text: str = text) -> int:
            return telltale("images.uploaded", *(text if a == "when" else a for a in given))[
                "events"
            ]

        assert events("--until", "when") == 2
        assert events("--until", "when", "--image", "late") == 0
        assert events("--since", "when") == 1
        assert events("--since", "when", "--image", "late") == 1
        assert events("--since", "when", "--until", "when") == 0
