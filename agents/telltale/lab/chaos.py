"""Chaos: faults while events flow, and an account of what went in against what came out.

In: a ``Ground`` and a ``Plan``. Out: ``Outcome``. Events go in at a steady rate, in rounds: one fault
a round, somewhere in its middle; a round ends when all sent so far is answered, or patience does.
Three rounds in four begin with every worker ready, so that recovery is that of one fault; the rest
strike while the last one is still being mended. Raises ``DependencyAway`` when the broker
stays away, ``TelltaleError`` when the workers do not start.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from telltale.lab.chaos_faults import Fault, give_up, strike, struck
from telltale.lab.chaos_ground import Ground
from telltale.lab.chaos_pool import START_S, Pool, WorkerProcess
from telltale.lab.chaos_stream import Stream
from telltale.lab.chaos_worker import AT_STEPS
from telltale.lab.ledger import Audit, Ledger

STEP_S = 0.02
READY_S = 180.0  # then the next fault comes anyway
HASTE = 0.25  # share of faults that do not wait for the last one to be mended

OnProgress = Callable[[int, int, int], object]


@dataclass(frozen=True)
class Plan:
    """The size of a run. ``rate`` in uploads a second, ``stop_s`` how long a SIGSTOP lasts."""

    events: int
    faults: tuple[str, ...]
    seed: int = 7
    workers: int = 3
    rate: float = 100.0
    delay_s: float = 0.02
    stop_s: float = 30.0
    patience_s: float = 180.0


@dataclass
class Outcome:
    """What came of it; ``unasked`` names workers that ended without being hurt."""

    plan: Plan
    ledger: Ledger
    faults: list[Fault]
    audit: Audit
    unasked: list[str]
    resumed_s: list[float]
    seconds: float
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether the account is, and every upload has its one row where rows were counted."""
        wrong = [n for name, n in self.rows.items() if name.endswith(("missing", "too_many"))]
        return self.audit.clean and not any(wrong)

    def recovery_s(self, kind: str | None = None) -> list[float]:
        """Recovery of each fault (of a kind) that had uploads after it."""
        return [
            f.recovery_s for f in self.faults
            if f.recovery_s is not None and kind in (None, f.kind)
        ]  # fmt: skip

    def public(self) -> dict[str, object]:
        """For JSON."""
        kinds = sorted({f.kind for f in self.faults})
        return {
            **self.audit.public(),
            "faults": len(self.faults),
            "recovery_s": {
                **summary(self.recovery_s()),
                "by_fault": {kind: summary(self.recovery_s(kind)) for kind in kinds},
                "each": [f.public() for f in self.faults],
            },
            "unasked_exits": self.unasked,
            "rows": self.rows,
            "seconds": round(self.seconds, 1),
            "seed": self.plan.seed,
            "workers": self.plan.workers,
            "rate": self.plan.rate,
        }


def summary(found: list[float]) -> dict[str, float | int | None]:
    """Median and maximum of those that recovered, how many there were, and how many never did."""
    finite = [s for s in found if s != float("inf")]
    return {
        "median": round(median(finite), 3) if finite else None,
        "max": round(max(finite), 3) if finite else None,
        "count": len(finite),
        "never": len(found) - len(finite),
    }


class Chaos:
    """One run."""

    def __init__(
        self, ground: Ground, plan: Plan, on_progress: OnProgress = lambda *_: None
    ) -> None:
        self._ground, self._plan, self._progress = ground, plan, on_progress
        self._random = random.Random(plan.seed)
        self._ledger = Ledger(ground.run, plan.events, ground.route)
        self._stream = Stream(ground, self._ledger)
        logs = ground.folder / "workers"
        logs.mkdir(exist_ok=True)
        self._pool = Pool(ground.command(plan.delay_s), ground.variables, logs, plan.workers)
        self._faults: list[Fault] = []
        self._resumed_s: list[float] = []

    def run(self, rows: Callable[[], dict[str, int]] = dict) -> Outcome:
        """All rounds. ``rows`` counts what the stages recorded, once all is answered."""
        began = time.monotonic()
        try:
            self._pool.fill()
            self._pool.check_started(self._until(self._started, START_S))
            bounds = np.linspace(0, self._plan.events, len(self._plan.faults) + 2).astype(int)
            self._send(bounds[1])
            self._until(lambda: self._stream.settled, self._plan.patience_s)
            for kind, first, end in zip(self._plan.faults, bounds[1:], bounds[2:], strict=False):
                self._round(kind, int(first), int(end))
            self._resume(everybody=True)
            self._until(lambda: self._stream.settled, self._plan.patience_s)
            recorded = rows()
            self._pool.stop()  # a clean end: what is in hand is still sent, and still counted
            self._stream.read_to_end()
            dead = self._stream.dead()
        finally:
            self._pool.kill()
            self._stream.close()
        for fault in self._faults:
            if fault.at_s is not None:
                fault.recovery_s = self._ledger.recovery_s(fault.at_s, fault.first, fault.end)
        audit = self._ledger.audit(dead.count, recorded.get("verdicts_too_many", 0), dead.altered)
        return Outcome(
            self._plan, self._ledger, self._faults, audit, self._pool.unasked, self._resumed_s,
            time.monotonic() - began, recorded,
        )  # fmt: skip

    def _started(self) -> bool:
        return bool(self._pool.unasked) or self._pool.ready

    def _round(self, kind: str, first: int, end: int) -> None:
        calm = self._random.random() >= HASTE
        if calm:
            self._until(lambda: self._pool.ready, READY_S)
        self._send(first + int((end - first) * self._random.uniform(0.2, 0.5)))
        fault = Fault(kind, first, end, calm)
        if kind == "add":
            fault.victim = self._pool.grow()
        elif kind not in ("broker", "none"):
            fault.victim = self._victim(kind)
        self._faults.append(fault)
        strike(fault, self._ground, self._plan.stop_s)
        if fault.waiting:  # what leads the victim to its step, and then there is still some left
            self._send((self._stream.sent + end) // 2, fault)
            self._until(
                # who joins has no need of uploads to get there
                lambda: not fault.waiting or (kind != "add" and self._stream.settled),
                self._plan.patience_s,
                fault,
            )
            give_up(fault)
        self._send(end)
        self._until(lambda: self._stream.settled, self._plan.patience_s)
        if kind == "add" and fault.victim is not None:
            self._pool.shrink(fault.victim)

    def _victim(self, kind: str) -> WorkerProcess:
        """Any that runs; for a fault at a step one that can be told, and has something to do."""
        found: list[WorkerProcess] = []

        def some() -> bool:
            running = self._pool.running
            found[:] = [m for m in running if m.in_group] if kind in AT_STEPS else running
            return bool(found)

        self._until(some, READY_S)
        return self._random.choice(found or self._pool.running)

    def _send(self, until: int, fault: Fault | None = None) -> None:
        """Send at the plan's rate up to that upload, reading all the while."""
        began, first = time.monotonic(), self._stream.sent
        while self._stream.sent < until:
            due = first + int((time.monotonic() - began) * self._plan.rate) + 1
            while self._stream.sent < min(due, until):
                self._stream.send()
            self._step(fault)

    def _until(
        self, condition: Callable[[], bool], within_s: float, fault: Fault | None = None
    ) -> bool:
        """Keep everything going until the condition holds; False when time is up."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._step(fault)
        return True

    def _step(self, fault: Fault | None = None) -> None:
        self._stream.step(STEP_S)
        if fault is not None:
            struck(fault, self._plan.stop_s)
        self._pool.fill()
        self._resume()
        self._progress(self._stream.sent, self._ledger.answered, len(self._faults))

    def _resume(self, everybody: bool = False) -> None:
        self._resumed_s += [time.time() for _ in self._pool.resume(everybody)]
