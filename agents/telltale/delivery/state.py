"""What a stage is doing right now: read by health, metrics and the watchdog.

In: what the lane reports, and of servers that no event waits for what was tallied. Out: numbers and
reasons. Written on the event loop, read from other threads too, so every field is replaced whole.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

from telltale import tally
from telltale.delivery.metrics import GaugeName, Metrics
from telltale.stages.contract import Need


@dataclass
class State:
    """One stage's condition. Times are ``time.monotonic()``."""

    stage: str
    metrics: Metrics
    needs: tuple[Need, ...] = ()  # besides Kafka
    opened: bool = False
    at_work: bool = False  # a batch is being processed
    pending: int = 0  # taken, neither finished nor given back
    partitions: int = 0
    lag: int = 0
    outside_since: float | None = None  # None: a member of the group
    progress_at: float = field(default_factory=time.monotonic)
    paused_for: str | None = None  # a flood of dead letters
    away: dict[str, str] = field(default_factory=dict)  # dependency waited for: what is wrong

    def __post_init__(self) -> None:
        # from nought: a rate of what was never counted is no series, and no alert
        for outcome in ("answered", "dead"):
            self.metrics.count("telltale_outcomes_total", self.stage, outcome, by=0)
        gauges: tuple[GaugeName, ...] = (
            "telltale_partitions", "telltale_lag_events", "telltale_paused",
        )  # fmt: skip
        for name in gauges:
            self.metrics.set(name, 0, self.stage)
        for need in ("kafka", *self.needs):
            if need in get_args(tally.Spared):
                up = partial(self._up, need)
                self.metrics.follow("telltale_dependency_up", up, self.stage, need)
            else:
                self.metrics.set("telltale_dependency_up", 1, self.stage, need)

    def progress(self) -> None:
        """Something was finished, or there is nothing to do."""
        self.progress_at = time.monotonic()

    def dependency(self, name: str, problem: str | None) -> None:
        """A dependency does not answer (with what is wrong), or answers again (None)."""
        if self.away.get(name) == problem:
            return
        rest = {k: v for k, v in self.away.items() if k != name}
        self.away = rest if problem is None else {**rest, name: problem}
        if problem is None:  # what it held up has had no time yet
            self.progress()
            self.outside_since = self.outside_since and time.monotonic()
        self.metrics.set("telltale_dependency_up", float(problem is None), self.stage, name)

    @property
    def without(self) -> dict[str, str]:
        """What does not answer and is not waited for, with what is wrong. It explains no standstill."""
        return {name: wrong for name, wrong in tally.away().items() if name in self.needs}

    def _up(self, need: str) -> float:
        return float(need not in self.without)

    def pause(self, reason: str | None) -> None:
        """A flood has paused the stage (with the reason), or it goes on (None)."""
        self.paused_for = reason
        self.metrics.set("telltale_paused", float(reason is not None), self.stage)

    def stuck_for_s(self) -> float:
        """Seconds with work waiting and nothing finished, or outside the group, for no reason that
        explains it."""
        if self.away or self.paused_for or not self.opened:
            return 0.0
        waiting = self.pending > 0 or self.lag > 0
        since = [self.progress_at] if waiting else []
        if self.outside_since is not None:
            since.append(self.outside_since)
        return time.monotonic() - min(since) if since else 0.0

    def public(self) -> dict[str, object]:
        """What the health page says."""
        return {
            "opened": self.opened,
            "in_group": self.outside_since is None,
            "partitions": self.partitions,
            "lag_events": self.lag,
            "pending_events": self.pending,
            "away": self.away,
            "without": self.without,
            "paused_for": self.paused_for,
            "stuck_for_s": round(self.stuck_for_s(), 1),
        }
