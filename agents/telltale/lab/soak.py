"""Soak: a steady rate for a long time, with memory, lag and latency watched.

In: a ``Ground`` and how long, how fast. Out: ``Soaked``: samples, and the slope of memory with an
interval. Memory is the resident set of each worker process; latency is from the moment an
upload was given to Kafka to its answer's Kafka timestamp. Raises ``DependencyAway`` when the broker
stays away, ``TelltaleError`` when the workers do not start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from telltale.lab.chaos_ground import Ground
from telltale.lab.chaos_pool import START_S, Pool
from telltale.lab.chaos_stream import Stream
from telltale.lab.ledger import Audit, Floats, Ledger

STEP_S = 0.02
PATIENCE_S = 180.0
WARM_SHARE, WARM_MOST_S = 0.2, 300.0  # caches and pools fill first; that is not a leak
LEAST_SAMPLES = 5  # fewer say nothing of a slope
MB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """One look. ``at_s`` since the first upload; ``rss_mb`` a worker; ``lag`` None if not told."""

    at_s: float
    rss_mb: tuple[float, ...]
    lag: int | None


@dataclass(frozen=True)
class Slope:
    """Megabytes an hour with a 95% interval; None where there is too little to say."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Soaked:
    """What was seen."""

    ledger: Ledger
    samples: list[Sample]
    audit: Audit
    unasked: list[str]
    seconds: float
    warm_s: float

    @property
    def warm(self) -> list[Sample]:
        """Samples after the warm-up."""
        return [s for s in self.samples if s.at_s >= self.warm_s]

    @property
    def workers(self) -> int:
        """How many were watched."""
        return len(self.samples[0].rss_mb) if self.samples else 0

    def slope(self, worker: int | None = None) -> Slope:
        """Slope of one worker's memory, or of all together."""
        rss = [sum(s.rss_mb) if worker is None else s.rss_mb[worker] for s in self.warm]
        return slope(np.array([s.at_s for s in self.warm]) / 3600, np.array(rss))

    def latency_ms(self, *percentiles: float) -> list[float | None]:
        """Percentiles after the warm-up; None if nothing was answered."""
        sent = self.ledger.sent_s
        waits = (self.ledger.stored_s - sent)[sent >= np.nanmin(sent) + self.warm_s]
        waits = waits[~np.isnan(waits)] * 1000
        return [
            round(float(np.percentile(waits, p)), 1) if len(waits) else None for p in percentiles
        ]

    def public(self) -> dict[str, object]:
        """For JSON."""
        lags = [s.lag for s in self.warm if s.lag is not None]
        p50, p99 = self.latency_ms(50, 99)
        return {
            **self.audit.public(),
            "memory_mb_per_hour": asdict(self.slope()),
            "memory_mb_per_hour_by_worker": [asdict(self.slope(n)) for n in range(self.workers)],
            "memory_mb": {
                "first": round(sum(self.warm[0].rss_mb), 1) if self.warm else None,
                "last": round(sum(self.warm[-1].rss_mb), 1) if self.warm else None,
            },
            "latency_ms": {"p50": p50, "p99": p99},
            "lag": {"median": float(np.median(lags)) if lags else None, "max": max(lags, default=None)},
            "seconds": round(self.seconds, 1),
            "warm_up_s": round(self.warm_s, 1),
            "rate": round(self.audit.sent / self.seconds, 2),
            "unasked_exits": self.unasked,
            "samples": [asdict(s) for s in self.samples],
        }  # fmt: skip


def slope(hours: Floats, values: Floats) -> Slope:
    """Least squares, the interval widened for samples that follow each other.

    Neighbouring samples of memory are alike, so that there are fewer independent ones than samples:
    n (1 - r) / (1 + r) with r the residuals' correlation at lag 1 (Santer et al. 2000, "Statistical
    significance of trends and trend differences in layer-average atmospheric temperature time series").
    """
    if len(values) < LEAST_SAMPLES:
        return Slope(None)
    fit = stats.linregress(hours, values)
    left = values - (fit.intercept + fit.slope * hours)
    spread = float((left**2).sum())
    r = 0.0 if spread == 0 else float((left[1:] * left[:-1]).sum()) / spread
    count = len(values) * (1 - r) / (1 + r)
    if count <= 2:  # so alike that they are as good as one: a slope without an interval
        return Slope(round(float(fit.slope), 3))
    error = float(fit.stderr) * np.sqrt((len(values) - 2) / (count - 2))
    half = float(stats.t.ppf(0.975, count - 2)) * error
    return Slope(*(round(float(v), 3) for v in (fit.slope, fit.slope - half, fit.slope + half)))


class Soak:
    """One run of ``seconds`` at ``rate`` uploads a second, looked at every ``every_s``."""

    def __init__(
        self,
        ground: Ground,
        seconds: float,
        rate: float,
        workers: int,
        delay_s: float,
        every_s: float,
        on_progress: Callable[[int, int, int], object] = lambda *_: None,
    ) -> None:
        self._seconds, self._rate, self._every_s = seconds, rate, every_s
        self._progress = on_progress
        self._ledger = Ledger(ground.run, max(1, int(seconds * rate)), ground.route)
        self._stream = Stream(ground, self._ledger)
        logs = ground.folder / "workers"
        logs.mkdir(exist_ok=True)
        self._pool = Pool(ground.command(delay_s), ground.variables, logs, workers)
        self._samples: list[Sample] = []

    def run(self) -> Soaked:
        """Start the workers, send, look, and read to the end."""
        try:
            self._pool.fill()
            self._pool.check_started(self._until(self._started, START_S))
            seconds = self._steady()
            self._until(lambda: self._stream.settled, PATIENCE_S)
            self._pool.stop()
            self._stream.read_to_end()
            dead = self._stream.dead()
        finally:
            self._pool.kill()
            self._stream.close()
        audit = self._ledger.audit(dead.count, altered_dead=dead.altered)
        return Soaked(
            self._ledger, self._samples, audit, self._pool.unasked, seconds,
            min(WARM_SHARE * seconds, WARM_MOST_S),
        )  # fmt: skip

    def _started(self) -> bool:
        return bool(self._pool.unasked) or self._pool.ready

    def _steady(self) -> float:
        began = looked = time.monotonic()
        while self._stream.sent < self._ledger.events:
            now = time.monotonic()
            due = min(self._ledger.events, int((now - began) * self._rate) + 1)
            while self._stream.sent < due:
                self._stream.send()
            self._step()
            if now - looked >= self._every_s:
                looked = now
                self._look(now - began)
        return time.monotonic() - began

    def _look(self, at_s: float) -> None:
        rss = tuple(round(m.rss_bytes() / MB, 2) for m in self._pool.members)
        self._samples.append(Sample(round(at_s, 2), rss, self._stream.lag()))

    def _until(self, condition: Callable[[], bool], within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._step()
        return True

    def _step(self) -> None:
        self._stream.step(STEP_S)
        self._pool.fill()
        self._progress(self._stream.sent, self._ledger.answered, 0)
