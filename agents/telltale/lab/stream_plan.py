"""How much ``telltale bench stream`` measures, and how figures are summed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from telltale import topics

WARM_UP = 2  # events a process takes before the first run
QUIET_S = 300.0  # a stream from which nothing has come for this long is broken
EXPLAINED = topics.EXPLAINED.name
NAIVE = "naive"  # the plain apps' consumer group, below the prefix of the topics
Say = Callable[[str], object]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    runs: int
    pictures: int  # a run through the real models; 0 leaves them out
    events: int  # a run through empty stages
    low: int  # events one after another, for latency
    workers: int  # processes of all seven stages, bare loops and plain apps


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile (nearest rank, so that both were really seen)."""
    ranked = sorted(values)
    return {
        f"p{p}": round(ranked[min(len(ranked) - 1, -(-len(ranked) * p // 100) - 1)], 2)
        for p in (50, 99)
    }
