"""What a stage asks besides Kafka, it says; that is what health and metrics show from the start."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

import telltale
from telltale.app import STAGES, Wiring
from telltale.settings import Settings
from telltale.stages.contract import Need

ENDPOINT = {"profile": "standard", "judge_endpoint": "http://127.0.0.1:9/v1", "judge_model": "some"}
PACKAGE = Path(telltale.__file__).parent


def wiring(home: Path, **given: object) -> Wiring:
    nowhere = {
        "kafka_bootstrap": "127.0.0.1:9", "redis_url": "redis://127.0.0.1:9",
        "postgres_dsn": "postgresql://127.0.0.1:9/none",
    }  # fmt: skip
    return Wiring(Settings(home=home, device="cpu", **nowhere, **given))


@pytest.fixture(scope="module")
def wired(tmp_path_factory) -> Wiring:
    return wiring(tmp_path_factory.mktemp("wired"))


def test_a_stage_names_what_it_asks(wired: Wiring) -> None:
    assert {name: set(wired.stage(name).needs) for name in STAGES} == {
        "intake": {"image store", "picture decoder"},
        "detect": {"image store", "redis"},
        "retrieve": {"image store", "redis", "postgres"},
        "judge": {"image store"},
        "verify": {"image store", "redis"},
        "explain": {"image store"},
        "record": {"postgres"},
    }


def test_who_asks_a_judge_behind_an_endpoint_needs_it(wired: Wiring, tmp_path, monkeypatch) -> None:
    # the encoder of the profile that has such a judge is not at hand
    monkeypatch.setattr(wired, "judge", wiring(tmp_path, **ENDPOINT).judge)
    assert "judge endpoint" in wired.stage("judge").needs
    assert "judge endpoint" in wired.stage("verify").needs


def test_intake_needs_the_database_where_it_links_near_duplicates(tmp_path) -> None:
    policy = tmp_path / "policy.yaml"
    shipped = (PACKAGE / "policy" / "policy.yaml").read_text()
    policy.write_text(shipped.replace("near_duplicates: judge", "near_duplicates: link"))
    assert "postgres" in wiring(tmp_path, policy_file=policy).stage("intake").needs


@pytest.mark.parametrize("room", ["stages", "stores"])
def test_what_is_said_to_be_away_is_something_that_can_be_needed(room: str) -> None:
    calls = [
        node
        for path in (PACKAGE / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DependencyAway"
    ]
    assert calls
    assert {ast.literal_eval(call.args[0]) for call in calls} <= set(get_args(Need))
