"""A worker that is up and does nothing is worse than one that is down: it keeps its partitions.

In: the states of the stages. Out: the end of the process, when for ``stuck_s`` events wait and none
was finished, or the worker was outside its group: a client that has left it can stay alive and idle
for ever while the events go to nobody. A thread of its own, so that a blocked event loop is seen too. A dependency that is
away and a flood that is waited out are not being stuck.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from telltale.delivery.state import State
from telltale.errors import TelltaleError


class Stuck(TelltaleError):
    """Events wait and none is being finished, or the group goes on without this worker."""

    exit_code = 75  # EX_TEMPFAIL: start it again


class Watchdog:
    """Looks at the states ten times in ``stuck_s``."""

    def __init__(
        self,
        states: Sequence[State],
        stuck_s: float,
        fail: Callable[[str, BaseException], None],
    ) -> None:
        self._states, self._stuck_s, self._fail = states, stuck_s, fail
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(min(self._stuck_s / 10, 5.0)):
            for state in self._states:
                if (stuck := state.stuck_for_s()) > self._stuck_s:
                    self._fail(state.stage, Stuck(f"{_problem(state)} for {stuck:.0f} s"))


def _problem(state: State) -> str:
    if state.outside_since is not None:
        return "outside the consumer group, which does not take it back,"
    return f"{state.pending} events in hand, {state.lag} waiting, none finished"
