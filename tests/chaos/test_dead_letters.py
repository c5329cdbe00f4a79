"""The auditor of dead letters sees each way in which one could differ from what died."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from harness import Cluster, Record, upload

from telltale.lab.chaos_dead import DeadLetters, dead_letters

ADDED = (("stage", b"intake"), ("class", b"ValueError"), ("message", b"no"))


@pytest.fixture
def cluster(stack, tmp_path) -> Iterator[Cluster]:
    made = Cluster(stack.kafka_bootstrap, tmp_path)
    made.send(*(upload(f"i{n}") for n in range(8)), Record(None, b"", (("x", b"1"), ("x", b"2"))))
    return made


def letter(topic: str, died: Record, **changed: object) -> Record:
    """What a stage would make of a message, but for what is changed."""
    place = (
        ("topic", topic.encode()),
        ("partition", str(died.partition).encode()),
        ("offset", str(died.offset).encode()),
    )
    more = tuple((f"telltale.errors.{name}", value) for name, value in (*place, *ADDED))
    return replace(died, headers=died.headers + more, **changed)


def audit(cluster: Cluster, *letters: Record) -> DeadLetters:
    cluster.send(*letters, topic="images.uploaded.dead")
    return dead_letters(cluster.settings)


def test_letters_that_are_what_died_are_not_altered(cluster) -> None:
    assert audit(cluster) == DeadLetters(0, 0)
    died = cluster.read("images.uploaded", least=9)
    assert len(died) == 9
    topic = cluster.prefix + "images.uploaded"
    assert audit(cluster, *(letter(topic, r) for r in died)) == DeadLetters(9, 0)


def test_letters_of_a_worker_are_what_died(cluster) -> None:
    cluster.send(upload("fails", "fail"))
    with cluster.worker("batched", TELLTALE_ATTEMPTS="1"):
        cluster.read("images.uploaded.dead", least=2)  # the one without a key is unreadable
    assert dead_letters(cluster.settings) == DeadLetters(2, 0)


def test_every_way_of_being_altered_is_seen(cluster) -> None:
    one, other, *_ = [r for r in cluster.read("images.uploaded", least=9) if r.key]
    topic = cluster.prefix + "images.uploaded"
    good = letter(topic, one)
    ways = [
        letter(topic, one, key=b"other"), letter(topic, one, key=None),
        letter(topic, one, value=one.value[:-1] + b" "), letter(topic, one, value=None),
        replace(good, headers=good.headers[1:]),
        replace(good, headers=(good.headers[1], good.headers[0], *good.headers[2:])),
        replace(good, headers=(("ce_id", b"other"), *good.headers[1:])),
        replace(good, headers=(*good.headers, ("ce_more", b"1"))),
        replace(letter(topic, other), key=one.key, value=one.value),
        letter(topic, replace(one, offset=one.offset + 1000)), letter(topic, replace(one, partition=77)),
        letter("images.uploaded", one),
        one,  # it does not say where it died
    ]  # fmt: skip
    for number, altered in enumerate(ways, start=1):
        assert audit(cluster, altered) == DeadLetters(number, number), altered
    assert audit(cluster, good) == DeadLetters(len(ways) + 1, len(ways))
