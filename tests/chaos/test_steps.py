"""A worker is signalled in the very moment between two steps of delivery, by itself.

SIGKILL is a death without a word. SIGTERM is announced: what is in hand is handed over, and nothing is
done twice. SIGSTOP outlasts the session: the group takes the worker for dead, another answers, and then
it wakes and goes on where it was. The stage is a stand-in without models: this is about delivery alone.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import Cluster, Record, Worker, upload, wait

from telltale.events import ImageAdmitted
from telltale.lab.chaos_worker import AT_STEPS, STEPS
from telltale.lab.ledger import Audit, Hop, Ledger

UPLOADS, LATER = 60, 10
SESSION_S = 6
STOP_S = 9.0  # longer than the session
# the machine may be busy with other tests: a worker then takes long to start
START_S = 240.0
ROUTE = (Hop("batched", "1", ImageAdmitted.type_name),)

pytestmark = pytest.mark.timeout(1800)


@dataclass
class Struck:
    """A worker that signals itself at a step, and what came of it."""

    fault: str
    cluster: Cluster
    victim: Worker
    ended: int = 0  # exit status
    before: int = 0  # answers sent before the signal
    uploads: int = UPLOADS
    audit: Audit | None = None

    @property
    def stops(self) -> bool:
        return AT_STEPS[self.fault][1] == signal.SIGSTOP

    def strike(self) -> None:
        """Wait for the signal."""
        if self.stops:
            wait(lambda: self.victim.stopped, START_S, "the worker's stop")
        else:
            self.ended = self.victim.ended(START_S)
        self.before = self.cluster.end("images.admitted")

    def answered(self) -> list[Record]:
        """Everything sent so far is answered."""
        return self.cluster.answers({f"i-{number}" for number in range(self.uploads)}, START_S)

    def alone_again(self) -> None:
        """The worker that took over goes; what comes then is for the one that woke."""
        self.cluster.send(*(upload(f"i-{UPLOADS + number}") for number in range(LATER)))
        self.uploads = UPLOADS + LATER
        self.answered()
        self.victim.signal(signal.SIGTERM)
        self.ended = self.victim.ended(START_S)

    def account(self) -> None:
        """Hold what came out against what went in."""
        ledger = Ledger("i", self.uploads, ROUTE)
        for number in range(self.uploads):
            ledger.confirm(number, 0)
        for r in self.answered():
            ledger.hear(r.header("ce_subject"), r.header("ce_id"), r.value or b"", 0.0, 0.0)
        self.audit = ledger.audit(self.cluster.end("images.uploaded.dead"))


@pytest.fixture(scope="module")
def struck(stack, tmp_path_factory) -> dict[str, Struck]:
    """By fault, side by side: each on topics of its own, with one partition."""
    with ExitStack() as undo:

        def start(cluster: Cluster, **more: str) -> Worker:
            worker = cluster.start("batched", TELLTALE_SESSION_TIMEOUT_S=str(SESSION_S), **more)
            undo.callback(worker.process.wait)
            undo.callback(worker.process.kill)
            return worker

        found = [
            begin(fault, stack.kafka_bootstrap, tmp_path_factory.mktemp("step"), start)
            for fault in AT_STEPS
        ]
        for one in found:
            one.strike()
        stopped_at = time.monotonic()
        others = [(one, start(one.cluster)) for one in found]
        for one, _ in others:
            one.answered()
        asleep = [(one, other) for one, other in others if one.stops]
        wait(lambda: time.monotonic() > stopped_at + STOP_S, 60, "more than the session timeout")
        for one, _ in asleep:
            one.victim.signal(signal.SIGCONT)
        for _, other in asleep:
            other.signal(signal.SIGTERM)
        for one, _ in asleep:
            one.alone_again()
        for one in found:
            one.account()
    return {one.fault: one for one in found}


def begin(fault: str, bootstrap: str, folder: Path, start) -> Struck:
    """Uploads wait, and a worker that will signal itself."""
    cluster = Cluster(bootstrap, folder, partitions=1)
    cluster.send(*(upload(f"i-{number}") for number in range(UPLOADS)))
    # not the first time, so that something was acknowledged before
    call = "9" if "acknowledgement" in fault else "2"
    return Struck(fault, cluster, start(cluster, TOY_FAULT=fault, TOY_FAULT_CALL=call))


@pytest.mark.parametrize("fault", AT_STEPS)
def test_a_signal_at_any_step_loses_nothing_and_repeats_only_with_the_same_id(
    struck, fault
) -> None:
    one = struck[fault]
    assert one.audit.lost == 0
    assert one.audit.foreign_ids == 0
    assert one.audit.altered_repeats == 0
    assert one.audit.dead == 0
    assert (one.before > 0) or "after-compute" in fault


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_at_any_step_dies_there(struck, step) -> None:
    assert struck[step].ended == -signal.SIGKILL


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_told_to_end_at_any_step_ends_cleanly_and_nothing_is_done_twice(
    struck, step
) -> None:
    one = struck[f"SIGTERM {step}"]
    assert one.ended == 0, one.victim.text
    assert one.audit.duplicate_emissions == 0


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_stopped_at_any_step_is_replaced_and_goes_on_when_it_wakes(struck, step) -> None:
    one = struck[f"SIGSTOP {step}"]
    assert one.uploads == UPLOADS + LATER
    assert one.ended == 0, one.victim.text
