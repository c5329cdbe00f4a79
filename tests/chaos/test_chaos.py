"""Workers are hurt while events flow; a stock client audits what went in against what came out.

The stages are stand-ins without models: this is about delivery alone. How long recovery takes is
measured by ``telltale lab chaos``; here it is only that answers flow again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from telltale.lab.chaos import Chaos, Outcome, Plan
from telltale.lab.chaos_faults import DEFAULT, kinds_of, sequence
from telltale.lab.chaos_ground import ground
from telltale.lab.chaos_worker import STEPS
from telltale.settings import load_settings

EVENTS = 800
SEED = 7

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def outcome(stack, tmp_path_factory) -> Outcome:
    """Every kind of fault once, in random order, on three workers."""
    folder = tmp_path_factory.mktemp("chaos")
    settings = load_settings(kafka_bootstrap=stack.kafka_bootstrap)
    kinds = kinds_of(DEFAULT)
    plan = Plan(EVENTS, tuple(sequence(kinds, len(kinds), SEED)), SEED)
    with ground(settings, folder, "standin", 6, print) as place:
        return Chaos(place, plan).run()


def test_nothing_is_lost(outcome) -> None:
    assert outcome.audit.sent == EVENTS
    assert outcome.audit.answered == EVENTS
    assert outcome.audit.lost == 0


def test_nothing_is_given_up_because_of_somebody_elses_crash(outcome) -> None:
    assert (outcome.audit.dead, outcome.audit.altered_dead) == (0, 0)


def test_repeats_carry_the_id_and_the_bytes_of_their_original(outcome) -> None:
    assert outcome.audit.foreign_ids == 0
    assert outcome.audit.duplicate_effects == 0
    assert outcome.audit.altered_repeats == 0


def test_answers_flow_again_after_every_fault(outcome) -> None:
    assert {f.kind for f in outcome.faults} == {"SIGKILL", "SIGTERM", "SIGSTOP", *STEPS}
    stuck = [f.public() for f in outcome.faults if f.recovery_s in (None, inf)]
    assert stuck == []


def test_every_death_at_a_step_was_at_that_step(outcome) -> None:
    assert [f.note for f in outcome.faults if f.note] == []


def test_no_worker_ends_because_another_was_hurt(outcome) -> None:
    assert outcome.unasked == []


def test_signals_come_at_their_step_and_workers_into_their_group_and_nothing_is_lost(
    stack, tmp_path
) -> None:
    settings = load_settings(kafka_bootstrap=stack.kafka_bootstrap)
    faults = ("SIGSTOP after-send", "SIGTERM before-acknowledgement", "add")
    plan = Plan(400, faults, SEED, workers=2, stop_s=10.0)
    with ground(settings, tmp_path, "standin", 2, print) as place:
        outcome = Chaos(place, plan).run()
    assert outcome.audit.clean
    assert outcome.audit.answered == 400
    assert [(f.kind, f.note) for f in outcome.faults] == [(kind, "") for kind in faults]
    assert all(f.recovery_s not in (None, inf) for f in outcome.faults)
    assert len(outcome.resumed_s) == 1
    assert outcome.unasked == []


def lab(stack, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, in that folder."""
    main = "from telltale.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", main, "lab", *arguments],
        env={
            **os.environ,
            "TELLTALE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
            "TELLTALE_HOME": str(folder / "home"),
        },
        cwd=folder, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def test_the_command_prints_one_object_and_draws_the_timeline(stack, tmp_path) -> None:
    done = lab(
        stack, tmp_path, "chaos", "--events", "180", "--faults", "2", "--faults-of", "kill,none",
        "--workers", "2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    account = json.loads(done.stdout)
    counts = ("sent", "answered", "lost", "duplicate_effects", "foreign_ids", "altered_dead")
    assert [account[name] for name in counts] == [180, 180, 0, 0, 0, 0]
    assert account["faults"] == 2
    assert account["duplicate_emissions"] >= 0
    hurt, unhurt = (account["recovery_s"]["by_fault"][kind] for kind in ("SIGKILL", "none"))
    assert (hurt["count"], unhurt["count"]) == (1, 1)
    assert 0 < unhurt["max"] < hurt["max"]
    assert account["stages"].startswith("a stand-in stage"), "it says that no model takes part"
    assert "timeline: chaos.png" in done.stderr
    assert (tmp_path / "chaos.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("home/lab/*")), "a clean run leaves nothing behind"


def test_the_command_prints_the_account_and_says_where_the_timeline_is(stack, tmp_path) -> None:
    few = ("--events", "20", "--faults", "0", "--workers", "1", "--plot", "elsewhere.png")
    done = lab(stack, tmp_path, "chaos", *few)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "duplicate_effects" in done.stdout
    assert "altered_dead" in done.stdout
    assert done.stdout.endswith("timeline: elsewhere.png\n")
    assert (tmp_path / "elsewhere.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("what", ["chaos", "soak"])
def test_a_plot_that_could_not_be_kept_is_refused_before_the_run(stack, tmp_path, what) -> None:
    done = lab(stack, tmp_path, what, "--plot", "nowhere/timeline.png")
    assert done.returncode == 2
    assert "--plot nowhere/timeline.png" in done.stderr
