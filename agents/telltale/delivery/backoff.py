"""How long to wait before trying again. In: how often it has failed. Out: seconds."""

from __future__ import annotations

import random

# a failing event holds up its partition while it is retried, so these are short
EVENT_FIRST_S, EVENT_CAP_S = 0.05, 1.0
# a server that restarts is back within seconds; one that is down is asked six times a minute, so that
# work goes on within some ten seconds of its return
AWAY_FIRST_S, AWAY_CAP_S = 0.2, 10.0


def event_pause_s(failures: int) -> float:
    """Pause after the n-th failure of one event: 0.05 s doubling to 1 s, with jitter."""
    return _pause(failures, EVENT_FIRST_S, EVENT_CAP_S)


def away_pause_s(failures: int, wished_s: float | None) -> float:
    """Pause after the n-th answer that did not come; a server's own wish is honoured."""
    return max(_pause(failures, AWAY_FIRST_S, AWAY_CAP_S), wished_s or 0.0)


def _pause(failures: int, first_s: float, cap_s: float) -> float:
    # jitter keeps the workers of a stage from asking all at once
    return float(min(cap_s, first_s * 2 ** min(failures - 1, 16)) * random.uniform(0.75, 1.25))
