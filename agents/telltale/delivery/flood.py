"""A flood of dead letters pauses the stage instead of draining its topic.

In: whether each finished event died. Out: for how long to take nothing more. When more than a share
of the last ones died (half of a hundred unless set otherwise, and a fifth of them finished), the fault
is more likely ours than theirs. After the pause one batch is let through: if it lives, the stage goes
on; if not, the next pause is longer.
"""

from __future__ import annotations

from collections import deque

import structlog

from telltale.delivery.state import State

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 600.0

log = structlog.get_logger()


class Flood:
    """Counts deaths; ``pause_s`` says how long to wait before the next batch."""

    def __init__(self, state: State, last: int, share: float) -> None:
        self._state, self._share = state, share
        self._last: deque[bool] = deque(maxlen=last)
        self._least = max(1, last // 5)
        self._pauses = 0

    def finished(self, died: bool) -> None:
        """Note one event's end."""
        self._last.append(died)
        if self._state.paused_for and not died:
            log.info("flood of dead letters is over", stage=self._state.stage)
            self._state.pause(None)
            self._last.clear()
            self._pauses = 0

    def pause_s(self) -> float:
        """Seconds to wait before taking more: 0 unless in a flood. Sets the alarm."""
        dead = sum(self._last)
        if len(self._last) < self._least or dead <= self._share * len(self._last):
            return 0.0
        pause_s = min(FIRST_PAUSE_S * float(2**self._pauses), LONGEST_PAUSE_S)
        self._pauses = min(self._pauses + 1, 16)
        reason = f"{dead} of the last {len(self._last)} events are dead"
        self._state.pause(reason)
        log.critical("flood of dead letters", reason=reason, pause_s=pause_s)
        return pause_s

    @property
    def probing(self) -> bool:
        """In a flood: let one event through, not a batch."""
        return self._state.paused_for is not None
