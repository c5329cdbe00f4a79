"""The board and the alerts ask for metrics that workers publish, with labels that they have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from telltale import tally
from telltale.app import STAGES
from telltale.delivery.metrics import METRIC_NAMES, Metrics
from telltale.delivery.state import State
from telltale.events import JudgmentStatus
from telltale.stages.contract import Batch, Need
from telltale.stages.judge import JudgeStage

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
RULES_TEST = yaml.safe_load((DEPLOY / "prometheus" / "rules_test.yml").read_text())
BOARD = json.loads((DEPLOY / "grafana" / "telltale.json").read_text())


def alerts() -> list[dict]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


# what the code puts into these labels
VALUES: dict[str, set[str]] = {
    "stage": set(STAGES),
    "dependency": {"kafka", *get_args(Need)},
    "status": set(get_args(JudgmentStatus)),
    "outcome": {"answered", "dead"},
}


def named(text: str) -> set[tuple[str, str]]:
    """Labels of a query or a series with the values that they are held against."""
    matchers = re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"$]*)"', text)
    return {
        (label, value)
        for label, how, values in matchers
        for value in (values.split("|") if "~" in how else [values])
    }


@pytest.fixture(scope="module")
def published() -> dict[str, set[str]]:
    """Series names of a worker's page, each with its labels."""
    from telltale.delivery import metrics as source

    for name, labels in tally.LABELS.items():
        tally.add(name, 1, *labels)
    metrics = Metrics()
    for name, (_, labels) in source._COUNTERS.items():
        metrics.count(name, *labels)
    for name, (_, labels) in source._GAUGES.items():
        metrics.set(name, 1, *labels)
    for name, (_, labels, _) in source._HISTOGRAMS.items():
        metrics.observe(name, 1, *labels)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("name", "query"), sorted(queries()))
def test_a_query_can_be_read_and_asks_for_what_is_published(
    name: str, query: str, published: dict[str, set[str]]
) -> None:
    promql_parser.parse(query)
    series = set(re.findall(r"telltale_\w+", query))
    assert series
    assert series <= set(published), f"{name} asks for {series - set(published)}"
    shared = set.intersection(*(published[s] for s in series))
    for labels in re.findall(r"by \(([^)]*)\)", query):
        assert {label.strip() for label in labels.split(",")} <= shared, f"{name}: {labels}"


def test_the_board_shows_every_metric() -> None:
    shown = " ".join(query for _, query in queries())
    assert [name for name in METRIC_NAMES if name not in shown] == ["telltale_events_total"]


def test_what_an_alert_takes_a_rate_of_is_published_from_nought() -> None:
    """A rate of a series that is not there is no series: an alert on it would never come."""
    metrics = Metrics()
    State("detect", metrics)
    judge = type("Judge", (), {"needs": ()})()
    JudgeStage(judge, {}, None, Batch()).open()
    samples = {
        (s.name, s.labels.get("outcome") or s.labels.get("status")): s.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for s in family.samples
        if s.labels.get("stage", "detect") == "detect"
    }
    assert samples["telltale_outcomes_total", "answered"] == 0
    assert samples["telltale_outcomes_total", "dead"] == 0
    assert samples["telltale_partitions", None] == samples["telltale_lag_events", None] == 0
    silent = [
        rule["alert"]
        for rule in alerts()
        for counter in re.findall(r"(?:rate|increase)\((telltale_\w+)", rule["expr"])
        if not counter.endswith("_bucket") and not {(counter, "answered"), (counter, "ok")} & set(samples)
        and f"{counter} unless {counter} offset" not in rule["expr"]
    ]  # fmt: skip
    assert not silent


def test_alerts_and_their_tests_name_only_what_the_code_can_say() -> None:
    series = [s["series"] for test in RULES_TEST["tests"] for s in test["input_series"]]
    texts = [query for _, query in queries()] + series
    said = {pair for text in texts for pair in named(text) if pair[0] in VALUES}
    assert {label for label, _ in said} == set(VALUES)
    assert not {(label, value) for label, value in said if value not in VALUES[label]}


def test_what_is_done_without_wakes_nobody_and_what_is_waited_for_does() -> None:
    found = {rule["alert"]: named(rule["expr"]) for rule in alerts()}
    spared = {("dependency", name) for name in get_args(tally.Spared)}
    assert found["TelltaleDependencyAway"] == found["TelltaleDependencyMissed"] == spared
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in alerts()}
    assert severity["TelltaleDependencyAway"] == "page"
    assert severity["TelltaleDependencyMissed"] == "ticket"


@pytest.fixture(scope="module")
def promtool() -> str:
    """Its path. Where it was put there, its absence is a failure."""
    beside = shutil.which("promtool", path=str(Path(sys.executable).parent))
    if found := beside or shutil.which("promtool"):
        return found
    missing = "promtool is not installed: bash deploy/promtool.sh .venv/bin"
    if os.environ.get("TELLTALE_REQUIRE_PROMTOOL"):
        pytest.fail(missing)
    pytest.skip(missing)


def test_the_alerts_come_when_they_should_and_only_then(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", "rules_test.yml"],
        cwd=DEPLOY / "prometheus", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_in_which_it_comes() -> None:
    come = {
        case["alertname"]
        for test in RULES_TEST["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert come == {rule["alert"] for rule in alerts()}


def test_an_alert_says_what_is_wrong_in_labels_that_it_has() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        text = " ".join(rule["annotations"].values())
        for label in re.findall(r"\$labels\.(\w+)", text):
            assert label in rule["expr"], f"{rule['alert']} names {label}"


def test_board_and_alerts_have_no_two_of_one_name() -> None:
    for names in ([r["alert"] for r in alerts()], [p["title"] for p in BOARD["panels"]]):
        assert len(names) == len(set(names))
    assert len({p["id"] for p in BOARD["panels"]}) == len(BOARD["panels"])


def test_an_alert_on_stages_covers_all_of_them() -> None:
    # none singles out a stage: a new one is watched from its first event
    assert not [n for n, query in queries() if any(f'"{stage}"' in query for stage in STAGES)]
