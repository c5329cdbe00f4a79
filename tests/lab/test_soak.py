"""A soak of seconds does what one of half an hour does; a slope is found where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from telltale.lab.soak import slope

HOURS = np.linspace(0, 0.5, 360)


def noise(spread: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, spread, len(HOURS))


def test_a_leak_is_found_with_an_interval_that_holds_it() -> None:
    found = slope(HOURS, 300 + 40 * HOURS + noise(1.0))
    assert found.low is not None
    assert found.high is not None
    assert found.low < 40 < found.high
    assert found.low > 30


def test_steady_memory_has_no_slope() -> None:
    found = slope(HOURS, 300 + noise(1.0))
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_samples_that_follow_each_other_widen_the_interval() -> None:
    alike = np.cumsum(noise(0.1))
    shuffled = np.random.default_rng(6).permutation(alike)
    wide, narrow = slope(HOURS, alike), slope(HOURS, shuffled)
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.low is None or wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_a_handful_of_samples_says_nothing() -> None:
    assert slope(HOURS[:4], HOURS[:4]).value is None


@pytest.mark.timeout(1200)
def test_the_command_watches_memory_lag_and_latency_and_draws_them(stack, tmp_path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-c", "from telltale.cli import main; main()", "lab", "soak",
            "--minutes", "0.2", "--rate", "20", "--every-s", "0.5", "--workers", "2",
            "--json",
        ],
        env={
            **os.environ,
            "TELLTALE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
            "TELLTALE_HOME": str(tmp_path),
        },
        cwd=tmp_path, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert (seen["sent"], seen["answered"], seen["lost"]) == (240, 240, 0)
    assert seen["memory_mb_per_hour"]["value"] is not None
    assert len(seen["memory_mb_per_hour_by_worker"]) == 2
    assert all(rss > 20 for sample in seen["samples"] for rss in sample["rss_mb"])
    assert all(sample["lag"] is not None for sample in seen["samples"])
    assert 0 < seen["latency_ms"]["p50"] <= seen["latency_ms"]["p99"]
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
