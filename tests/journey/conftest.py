"""The whole product for a journey: real servers, every stage with the mini weights, topics of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from telltale.app import Wiring
from telltale.commands.preparing import prepare
from telltale.commands.topics import READERS
from telltale.commands.workers import start_worker, stop_worker, wait_ready
from telltale.delivery.topics_admin import list_topics
from telltale.settings import Settings, load_settings
from tests.collector import Collector, collecting

ROOT = Path(__file__).parents[2]


@dataclass
class World:
    """A home with its servers, and the variables that point the command line at this test's topics."""

    settings: Settings
    variables: dict[str, str]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def telltale(
        self, *arguments: str, seconds: float = 240, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as a person would."""
        return subprocess.run(
            [sys.executable, "-c", "from telltale.cli import main; main()", *arguments],
            env={**os.environ, **self.variables, **more}, capture_output=True, text=True, timeout=seconds, cwd=ROOT,
        )  # fmt: skip

    def start(self, stage: str, name: str | None = None) -> subprocess.Popen[bytes]:
        """A worker, ready."""
        log = (
            self.settings.home
            / "logs"
            / f"{self.settings.topic_prefix}{name or stage.strip('-')}.log"
        )
        process, port = start_worker(self.settings, stage, log, **self.variables)
        self.workers[name or stage] = process
        wait_ready(process, port, log)
        return process

    def wait_all_read(self, seconds: float = 120) -> None:
        """Wait until every stage has acknowledged all there is, from topic to topic down the stream.

        What a topic's readers have sent is on the next topic before they acknowledge it: in this
        order, nothing is left behind.
        """
        settings = Wiring(self.settings).settings
        for topic, stages in READERS.items():

            def lag(topic: str = topic) -> dict[str, int]:
                states = asyncio.run(list_topics(settings, READERS))
                return next(s.lag for s in states if s.name == topic)

            done = dict.fromkeys(stages, 0)
            wait_until(lambda lag=lag, done=done: lag() == done, seconds, f"all of {topic} is read")

    def verdicts(self, *sources: str, seconds: float = 240) -> list[dict]:
        """Submit and wait; one dictionary an image."""
        done = self.telltale("submit", *sources, "--wait", "--json", seconds=seconds)
        assert done.returncode == 0, done.stderr[-800:]
        return [json.loads(line) for line in done.stdout.splitlines()]


def wait_until(condition, seconds: float = 60.0, what: str = "condition"):
    """Poll until true; the last value is returned."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not so after {seconds} s"
        time.sleep(0.2)
    return value


def new_world(home: Path, images: Path, endpoints: dict[str, str]) -> World:
    """Settings and variables of a world of its own on those servers."""
    variables = {
        "TELLTALE_HOME": str(home), "TELLTALE_IMAGES_URL": f"file://{images}", "TELLTALE_TOPIC_PREFIX": f"j{uuid4().hex[:8]}.",
        "TELLTALE_KAFKA_PARTITIONS": "4", "OMP_NUM_THREADS": "1", "TELLTALE_LOG_FORMAT": "json", **endpoints,
    }  # fmt: skip
    given = {
        k.removeprefix("TELLTALE_").lower(): v
        for k, v in variables.items()
        if k.startswith("TELLTALE_")
    }
    return World(load_settings(**given), variables)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where the workers of the world send their traces."""
    with collecting() as listening:
        yield listening


@pytest.fixture(scope="module")
def world(stack, stack_home, tmp_path_factory, collector) -> Iterator[World]:
    """Every stage running."""
    made = new_world(stack_home, tmp_path_factory.mktemp("images"), collector.variables)
    prepare(Wiring(made.settings), print)
    made.start("--all")
    yield made
    for process in made.workers.values():
        stop_worker(process)
