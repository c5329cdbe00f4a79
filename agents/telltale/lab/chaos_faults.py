"""The faults: what can be done to a worker or to the broker, and which is done when.

In: kinds of faults, a seed. Out: a sequence in which every kind has its turn, and faults done.
A worker that ends is replaced by its pool, a broker by the supervisor of the embedded stack.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from telltale.errors import UsageError
from telltale.lab.chaos_ground import Ground, broker_pid
from telltale.lab.chaos_pool import WorkerProcess
from telltale.lab.chaos_worker import AT_STEP, AT_STEPS, STEPS, step_signal

# group: the kinds in it; "add" brings one worker more, who ends after its round; "none" hurts nobody: how long answers take to come from every partition anyway
GROUPS: dict[str, tuple[str, ...]] = {
    "kill": ("SIGKILL",),
    "term": ("SIGTERM",),
    "stop": ("SIGSTOP",),
    "step": tuple(STEPS),
    "step-term": tuple(f"SIGTERM {step}" for step in STEPS),
    "step-stop": tuple(f"SIGSTOP {step}" for step in STEPS),
    "broker": ("broker",),
    "add": ("add",),
    "none": ("none",),
}
DEFAULT = ("kill", "term", "stop", "step")


@dataclass
class Fault:
    """A fault: when it struck (seconds since 1970; None before), and how long its effect lasted.

    ``first`` and ``end`` are the uploads of its round; ``calm`` says whether every worker was ready
    when it came. ``recovery_s`` is infinite if answers never flowed again.
    """

    kind: str
    first: int
    end: int
    calm: bool
    victim: WorkerProcess | None = None
    at_s: float | None = None
    recovery_s: float | None = None
    note: str = ""
    said: int = 0  # how often the victim had signalled itself before

    @property
    def waiting(self) -> bool:
        """Whether the victim has not yet got to its step, or a worker more not into the group."""
        return self.at_s is None

    def public(self) -> dict[str, object]:
        """For JSON."""
        found = self.recovery_s
        return {
            "kind": self.kind,
            "at_s": self.at_s,
            "calm": self.calm,
            "recovery_s": None if found is None or found == float("inf") else round(found, 3),
            "recovered": found != float("inf"),
            "note": self.note,
        }


def kinds_of(groups: Sequence[str]) -> tuple[str, ...]:
    """The kinds in the named groups. Raises ``UsageError`` for a group that is not one."""
    if unknown := [g for g in groups if g not in GROUPS]:
        raise UsageError(f"--faults-of {unknown[0]}: no such fault; there are {', '.join(GROUPS)}")
    return tuple(kind for group in groups for kind in GROUPS[group])


def sequence(kinds: Sequence[str], count: int, seed: int) -> list[str]:
    """So many faults, in random order, each kind as often as any other."""
    order = random.Random(seed)
    found: list[str] = []
    while len(found) < count:
        found += order.sample(list(kinds), len(kinds))
    return found[:count]


def strike(fault: Fault, ground: Ground, stop_s: float) -> None:
    """Do it. A fault at a step comes later, when the victim gets there (``struck``), and a worker more
    counts from the moment in which it is in the group."""
    if fault.kind == "none":
        fault.at_s = time.time()
        return
    if fault.kind == "broker":
        pid = None if ground.supervisor_pid is None else broker_pid(ground.supervisor_pid)
        if pid is None:
            fault.note = "the broker was away already"
        else:
            os.kill(pid, signal.SIGKILL)
        fault.at_s = time.time()
        return
    victim = fault.victim
    assert victim is not None  # every other fault has one
    if fault.kind == "add":
        return
    if fault.kind in AT_STEPS:
        victim.hurt = True
        fault.said = victim.text.count(AT_STEP)
        victim.signal(step_signal(fault.kind))
        return
    victim.hurt = fault.kind != "SIGSTOP"
    victim.signal(signal.Signals[fault.kind])
    fault.at_s = time.time()
    if fault.kind == "SIGSTOP":
        victim.resume_at = fault.at_s + stop_s


def struck(fault: Fault, stop_s: float) -> bool:
    """Whether a fault at a step has come by now."""
    victim = fault.victim
    if not fault.waiting or victim is None:
        return not fault.waiting
    if fault.kind == "add":
        if victim.in_group:
            fault.at_s = time.time()
        return not fault.waiting
    ended = not victim.alive  # asked first: what it said before is in its log by then
    said = victim.text.count(AT_STEP) > fault.said
    if ended or said:
        fault.at_s = time.time()
        fault.note = "" if said else "ended before it got to the step"
        if not ended and AT_STEPS[fault.kind][1] == signal.SIGSTOP:
            victim.resume_at = fault.at_s + stop_s
    return not fault.waiting


def give_up(fault: Fault) -> None:
    """Kill a victim that never got to its step, having nothing to do there, or into the group."""
    if fault.waiting and fault.victim is not None:
        fault.victim.process.kill()
        fault.at_s, fault.note = time.time(), "never got there; killed"
