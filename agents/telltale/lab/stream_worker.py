"""A process of the benchmark: ``python -m telltale.lab.stream_worker KIND STAGES [TIMES]``.

In: KIND ``stream`` (the product's worker with all seven stages), ``naive`` (the plain Faust app) or
``bare`` (the loops without a stream: a line on standard input names a folder of pictures for the stages, an
empty one has the models do it again; a line on standard output says how many seconds that took); STAGES ``models`` (the real ones), ``empty``, or a folder with
``verdict.json`` and ``explanation.json`` whose sections empty stages then carry; TIMES, a file to which
every call of a stage's ``prepare`` and ``process`` is written. Settings come from the environment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from telltale.delivery.logs import configure_logs
from telltale.events import Event
from telltale.lab.stream_empty import EMPTY, empty_stages, sections_of
from telltale.settings import Settings, load_settings
from telltale.stages.contract import Item, Outcome, Stage


class Timed(Stage):
    """A stage whose ``process`` is timed: a line a call, naming the images."""

    def __init__(self, stage: Stage, times: Path) -> None:
        self._stage, self._times = stage, times.open("a", buffering=1)
        self.name, self.version = stage.name, stage.version
        self.reads, self.batch, self.needs = stage.reads, stage.batch, stage.needs

    def open(self) -> None:
        """The stage's own."""
        self._stage.open()

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """The stage's own, timed."""
        began = time.perf_counter()
        outcomes = self._stage.process(items)
        self._write(items, began)
        return outcomes

    def close(self) -> None:
        """The stage's own."""
        self._stage.close()

    def _write(self, items: Sequence[Item[Event]], began: float) -> None:
        seconds = time.perf_counter() - began
        images = [i.event.image_id for i in items]
        self._times.write(json.dumps([self.name, images, seconds]) + "\n")


class TimedPreparing(Timed):
    """One that also prepares, which is timed too."""

    def prepare(self, item: Item[Event]) -> object:
        """The stage's own, timed."""
        began = time.perf_counter()
        prepared = self._stage.prepare(item)
        self._write([item], began)
        return prepared


def timed(stage: Stage, times: Path) -> Stage:
    """The stage, timed; without ``prepare`` where it has none."""
    kind = Timed if type(stage).prepare is Stage.prepare else TimedPreparing
    return kind(stage, times)


def stages_of(given: str, settings: Settings) -> list[Stage]:
    """All seven stages: real, empty, or empty ones that carry real sections."""
    if given == "models":
        from telltale.app import build_stages

        return build_stages(settings)
    if given == "empty":
        return empty_stages(settings, EMPTY)
    folder = Path(given)
    return empty_stages(settings, sections_of(folder / "verdict.json", folder / "explanation.json"))


def bare(settings: Settings) -> None:
    """Answer lines until there are no more."""
    from telltale.lab.stream_bare import BareLoop

    configure_logs(settings)
    loop = BareLoop(settings)
    for line in sys.stdin:
        folder = line.strip()
        took = loop.stages_s(sorted(Path(folder).iterdir())) if folder else loop.bare_s()
        print(took, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop."""
    kind, given, *times = arguments
    settings = load_settings()
    if kind == "bare":
        bare(settings)
        return 0
    stages = stages_of(given, settings)
    if times:
        stages = [timed(stage, Path(times[0])) for stage in stages]
    if kind == "naive":
        from telltale.lab.stream_naive import run_naive

        configure_logs(settings)
        run_naive(stages, settings)
        return 0
    from telltale.delivery.worker import run_workers

    return run_workers(stages, settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
