"""What a stage depends on can be seen while all is well, and a server that no event waits for holds up
nothing, also not the watchdog."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from gate import Gate
from harness import upload, wait
from prometheus_client.parser import text_string_to_metric_families

from telltale import tally
from telltale.delivery.metrics import Metrics
from telltale.delivery.state import State


@pytest.fixture(autouse=True)
def all_is_well() -> Iterator[None]:
    for server in ("redis", "judge endpoint"):
        tally.asked(server, None)
    yield
    for server in ("redis", "judge endpoint"):
        tally.asked(server, None)


def shown(text: str) -> dict[tuple[str, str], float]:
    """``telltale_dependency_up`` by stage and dependency."""
    return {
        (s.labels["stage"], s.labels["dependency"]): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.name == "telltale_dependency_up"
    }


def test_every_dependency_is_shown_as_answering_from_the_start() -> None:
    metrics = Metrics()
    State("detect", metrics, ("image store", "redis"))
    State("record", metrics, ("postgres",))
    assert shown(metrics.text().decode()) == {
        ("detect", "kafka"): 1, ("detect", "image store"): 1, ("detect", "redis"): 1,
        ("record", "kafka"): 1, ("record", "postgres"): 1,
    }  # fmt: skip


def test_one_that_is_waited_for_explains_a_standstill_and_one_that_is_not_does_not() -> None:
    metrics = Metrics()
    state = State("detect", metrics, ("image store", "redis"))
    state.opened, state.pending, state.progress_at = True, 1, time.monotonic() - 50
    tally.asked("redis", "refused")
    assert shown(metrics.text().decode())["detect", "redis"] == 0
    assert state.public()["without"] == {"redis": "refused"}
    assert state.public()["away"] == {}
    assert state.stuck_for_s() >= 50
    state.dependency("image store", "refused")
    assert state.stuck_for_s() == 0
    tally.asked("redis", None)
    assert shown(metrics.text().decode()) == {
        ("detect", "kafka"): 1, ("detect", "image store"): 0, ("detect", "redis"): 1,
    }  # fmt: skip


def test_one_that_a_stage_does_not_ask_is_not_among_its_own() -> None:
    metrics = Metrics()
    state = State("explain", metrics, ("image store",))
    tally.asked("redis", "refused")
    assert state.without == {}
    assert ("explain", "redis") not in shown(metrics.text().decode())


def test_a_worker_shows_its_cache_as_away_answers_all_the_same_and_shows_it_as_back(
    cluster, stack
) -> None:
    port = urlsplit(stack.redis_url).port
    gate = Gate(port)
    url = stack.redis_url.replace(str(port), str(gate.port))
    with cluster.worker("caching", TOY_REDIS=url) as worker:
        worker.ready()

        def up() -> float:
            return shown(worker.page("metrics")[1].decode())["caching", "redis"]

        assert up() == 1
        gate.shut()
        cluster.send(*(upload(f"i{i}") for i in range(10)))
        assert len(cluster.read("images.admitted", least=10)) == 10
        assert up() == 0
        health = worker.health("caching")
        assert list(health["without"]) == ["redis"]
        assert health["away"] == {}
        assert worker.page("healthz")[0] == worker.page("readyz")[0] == 200
        gate.open()
        cluster.send(*(upload(f"j{i}") for i in range(10)))
        assert len(cluster.read("images.admitted", least=20)) == 20
        wait(lambda: up() == 1, 30, "the cache shown as back")
        assert worker.health("caching")["without"] == {}
    gate.shut()
