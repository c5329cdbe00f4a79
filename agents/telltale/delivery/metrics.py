"""The metrics of a worker; their names are a ``Literal``, so a typo is a type error.

In: counts and durations by stage. Out: the text that Prometheus reads. One ``Metrics`` a process,
with a registry of its own, so that nothing is registered on import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar, cast, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from telltale import tally

CounterName = Literal[
    "telltale_events_total",
    "telltale_outcomes_total",
    "telltale_sent_total",
    "telltale_retries_total",
    "telltale_dead_letters_total",
    "telltale_dropped_total",
]
GaugeName = Literal[
    "telltale_lag_events",
    "telltale_dependency_up",
    "telltale_paused",
    "telltale_partitions",
    "telltale_pending_events",
]
HistogramName = Literal[
    "telltale_stage_seconds", "telltale_process_seconds", "telltale_batch_events"
]
MetricName = Literal[CounterName, GaugeName, HistogramName]
METRIC_NAMES: tuple[str, ...] = (
    *get_args(CounterName), *get_args(GaugeName), *get_args(HistogramName), *tally.LABELS,
)  # fmt: skip

# name: (what it counts, labels)
_COUNTERS: dict[CounterName, tuple[str, tuple[str, ...]]] = {
    "telltale_events_total": ("events taken", ("stage",)),
    "telltale_outcomes_total": ("events finished: answered or dead", ("stage", "outcome")),
    "telltale_sent_total": ("messages sent and confirmed", ("stage", "topic")),
    "telltale_retries_total": ("events tried again", ("stage",)),
    "telltale_dead_letters_total": ("dead letters by error class", ("stage", "error")),
    "telltale_dropped_total": ("events given back unfinished in a rebalance", ("stage",)),
}
_GAUGES: dict[GaugeName, tuple[str, tuple[str, ...]]] = {
    "telltale_lag_events": ("events waiting in the partitions held", ("stage",)),
    "telltale_dependency_up": ("1 while the dependency answers, 0 while it is waited for or, if no event "
                               "waits for it, done without", ("stage", "dependency")),
    "telltale_paused": ("1 while a flood of dead letters has paused the stage", ("stage",)),
    "telltale_partitions": ("partitions held", ("stage",)),
    "telltale_pending_events": ("events taken and not yet finished", ("stage",)),
}  # fmt: skip
_HISTOGRAMS: dict[HistogramName, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "telltale_stage_seconds": (
        "from an event's arrival in the worker to its acknowledgement", ("stage",),
        (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120),
    ),
    "telltale_process_seconds": (
        "one call of a stage's process, on the GPU or its stand-in", ("stage",),
        (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
    ),
    "telltale_batch_events": (
        "events in one batch", ("stage",), (1, 2, 4, 8, 16, 32, 64, 128, 256),
    ),
}  # fmt: skip


M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """The counters, gauges and histograms of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children: dict[tuple[str, tuple[str, ...]], Counter | Gauge | Histogram] = {}
        self.registry.register(_Tallied())
        self._counters = {
            name: Counter(name, text, labels, registry=self.registry)
            for name, (text, labels) in _COUNTERS.items()
        }
        self._gauges = {
            name: Gauge(name, text, labels, registry=self.registry)
            for name, (text, labels) in _GAUGES.items()
        }
        self._histograms = {
            name: Histogram(name, text, labels, registry=self.registry, buckets=buckets)
            for name, (text, labels, buckets) in _HISTOGRAMS.items()
        }

    def count(self, name: CounterName, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        self._child(self._counters[name], name, labels).inc(by)

    def set(self, name: GaugeName, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._child(self._gauges[name], name, labels).set(value)

    def follow(self, name: GaugeName, value: Callable[[], float], *labels: str) -> None:
        """Have a gauge ask whenever it is read."""
        self._child(self._gauges[name], name, labels).set_function(value)

    def observe(self, name: HistogramName, value: float, *labels: str) -> None:
        """Add an observation to a histogram."""
        self._child(self._histograms[name], name, labels).observe(value)

    def _child(self, metric: M, name: MetricName, labels: tuple[str, ...]) -> M:
        """The metric with its labels, found once: the client's own look-up costs more than adding."""
        child = self._children.get((name, labels))
        if child is None:
            child = self._children[name, labels] = metric.labels(*labels)
        return cast(M, child)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Tallied(Collector):
    """What models, judge and embedding cache have tallied, read when Prometheus asks."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        sums = tally.read()
        for name, labels in tally.LABELS.items():
            family = CounterMetricFamily(name, tally.HELP[name], labels=labels)
            for (tallied, values), total in sums.items():
                if tallied == name:
                    family.add_metric(values, total)
            yield family
