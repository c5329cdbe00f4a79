"""What the models and the embedding cache of this process have done, for whoever shows metrics.

In: counts and durations under names known beforehand. Out: their sums since the process began. A
model or a store knows no metrics system, and a worker shares its models among stages: hence one
tally a process. Nothing fails.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Literal

Name = Literal["telltale_model_seconds_total", "telltale_embedding_lookups_total"]
Key = tuple[Name, tuple[str, ...]]

LABELS: dict[Name, tuple[str, ...]] = {
    "telltale_model_seconds_total": ("model", "device"),
    "telltale_embedding_lookups_total": ("result",),
}
HELP: dict[Name, str] = {
    "telltale_model_seconds_total": "seconds in which a model had its device at work",
    "telltale_embedding_lookups_total": "region embeddings asked of the cache: hit, miss or failed",
}

_sums: Counter[Key] = Counter()
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


def read() -> dict[Key, float]:
    """All sums so far."""
    with _lock:
        return dict(_sums)
