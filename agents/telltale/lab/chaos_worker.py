"""The worker that is hurt: ``python -m telltale.lab.chaos_worker standin|real``.

In: settings from the environment. Out: a worker as ``telltale worker`` runs it, of one stand-in
stage with a fixed delay or of all stages, which can be told by a signal to signal itself at a step of
delivery. Exit status as ``telltale worker``; -9 where it was told to kill itself.
"""

from __future__ import annotations

import argparse
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from telltale.app import build_stages, connected
from telltale.delivery.hold import Hold
from telltale.delivery.sending import Sender
from telltale.delivery.trial import Trial
from telltale.delivery.worker import run_workers
from telltale.errors import TelltaleError
from telltale.events import Event, Image, ImageAdmitted, ImageUploaded
from telltale.lab.ledger import Hop
from telltale.settings import load_settings
from telltale.stages.contract import Answered, Batch, Item, Need, Outcome, Stage

# step: (class, its method, whether the step is after it or before)
STEPS: dict[str, tuple[type, str, bool]] = {
    "after-compute": (Trial, "endings", True),
    "after-send": (Sender, "send", True),
    "before-acknowledgement": (Hold, "acknowledge", False),
    "after-acknowledgement": (Hold, "acknowledge", True),
}


# fault at a step: (step, the signal that the worker then sends itself); a bare step is a death
AT_STEPS: dict[str, tuple[str, signal.Signals]] = {
    **{step: (step, signal.SIGKILL) for step in STEPS},
    **{f"SIGTERM {step}": (step, signal.SIGTERM) for step in STEPS},
    **{f"SIGSTOP {step}": (step, signal.SIGSTOP) for step in STEPS},
}
AT_STEP = "signals itself"
"""The worker's log says so at once before it does."""


def step_signal(fault: str) -> int:
    """The signal that tells a worker to signal itself when it next reaches that fault's step."""
    # real-time signals: Faust and Python leave them alone
    return signal.SIGRTMIN + 1 + list(AT_STEPS).index(fault)


def signal_at(step: str, number: signal.Signals, due: Callable[[], bool]) -> None:
    """From now on this process sends itself that signal at a step whenever ``due`` says so."""
    owner, name, after = STEPS[step]
    work = getattr(owner, name)

    def signal_if_due() -> None:
        if due():
            print(f"{AT_STEP}: {number.name} {step}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), number)

    def sync_step(*args: object) -> object:
        if not after:
            signal_if_due()
        done = work(*args)
        if after:
            signal_if_due()
        return done

    async def async_step(*args: object) -> object:
        done = await work(*args)
        signal_if_due()
        return done

    setattr(owner, name, async_step if inspect.iscoroutinefunction(work) else sync_step)


def signal_when_told() -> None:
    """Listen for the signals that name a fault at a step; each is done once."""
    told: set[str] = set()

    def due(fault: str) -> bool:
        if fault not in told:
            return False
        told.remove(fault)
        return True

    for fault, (step, number) in AT_STEPS.items():
        signal.signal(step_signal(fault), lambda *_, fault=fault: told.add(fault))
        signal_at(step, number, partial(due, fault))


class StandIn:
    """Answers every upload after a fixed delay a batch; the answer depends on the upload alone."""

    name, version = "stand-in", "1"
    reads: tuple[type[Event], ...] = (ImageUploaded,)
    batch = Batch(4, 0.02)
    needs: tuple[Need, ...] = ()
    prepare = Stage.prepare  # as the contract has it: delivery sees that there is none

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    def open(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to release."""

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """One plausible answer an upload."""
        time.sleep(self._delay_s)  # stands for the model
        return [Answered((_admitted(item),)) for item in items]


STANDIN_ROUTE = (Hop(StandIn.name, StandIn.version, ImageAdmitted.type_name),)


def _admitted(item: Item[Event]) -> ImageAdmitted:
    upload = item.event
    assert isinstance(upload, ImageUploaded)  # what it reads
    image = Image(
        sha256="0" * 64, phash="0" * 16, width_px=1, height_px=1, media_type="image/png", size_bytes=1
    )  # fmt: skip
    return ImageAdmitted(
        image_id=upload.image_id,
        uploaded_at=upload.uploaded_at,
        upload_id=item.envelope.id,
        image=image,
        context=upload.context,
        replay_id=upload.replay_id,
    )


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="telltale.lab.chaos_worker")
    parser.add_argument("stages", choices=("standin", "real"))
    parser.add_argument("--delay-s", type=float, default=0.02)
    given = parser.parse_args(arguments)
    signal_when_told()
    try:
        settings = load_settings()
        if given.stages == "standin":
            return run_workers([StandIn(given.delay_s)], settings)
        settings = connected(settings)
        return run_workers(build_stages(settings), settings)
    except TelltaleError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
