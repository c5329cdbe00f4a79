"""What models, judge and embedding cache of this process have done, for whoever shows metrics and health.

In: counts and durations under names known beforehand; how a server that is not waited for did when last
asked. Out: sums since the process began, and those servers that are away. A model or a store knows no
metrics system, and a worker shares its models among stages: hence one tally a process. Nothing fails.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Literal

Name = Literal[
    "telltale_model_seconds_total", "telltale_embedding_lookups_total", "telltale_judgments_total"
]
Spared = Literal["redis", "judge endpoint"]
"""Servers that no event waits for: without Redis all is computed anew, without the endpoint a verdict is
inconclusive and says why. The others raise ``DependencyAway``."""
Key = tuple[Name, tuple[str, ...]]

LABELS: dict[Name, tuple[str, ...]] = {
    "telltale_model_seconds_total": ("model", "device"),
    "telltale_embedding_lookups_total": ("result",),
    "telltale_judgments_total": ("status",),
}
HELP: dict[Name, str] = {
    "telltale_model_seconds_total": "seconds in which a model had its device at work",
    "telltale_embedding_lookups_total": "region embeddings asked of the cache: hit, miss or failed",
    "telltale_judgments_total": "pictures judged, by what came of asking: ok, not_asked, or why there is no judgment",
}

_sums: Counter[Key] = Counter()
_away: dict[Spared, str] = {}
_lock = Lock()


def add(name: Name, amount: float, *labels: str) -> None:
    """Add to a sum; ``labels`` in the order of ``LABELS``."""
    with _lock:
        _sums[name, labels] += amount  # type: ignore[assignment]  # seconds are no whole numbers


@contextmanager
def at_work(model: str, device: str) -> Iterator[None]:
    """Count the time inside as that model's on that device.

    Results must have been copied off a GPU before the end: until then its work may not be done.
    """
    began = time.perf_counter()
    try:
        yield
    finally:
        add("telltale_model_seconds_total", time.perf_counter() - began, model, device)


def asked(server: Spared, problem: str | None) -> None:
    """A server that is not waited for did not do what it was asked (with what is wrong), or did (None)."""
    with _lock:
        if problem is None:
            _away.pop(server, None)
        else:
            _away[server] = problem


def away() -> dict[Spared, str]:
    """Those that failed when last asked, each with what is wrong."""
    with _lock:
        return dict(_away)


def read() -> dict[Key, float]:
    """All sums so far."""
    with _lock:
        return dict(_sums)
