"""A soak over time, as PNG: memory of each worker, lag, and latency.

In: ``Soaked``. Out: a file. Raises ``OSError`` when it cannot be written.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from telltale.lab.soak import Soaked

BINS = 120


def plot(soaked: Soaked, path: Path) -> None:
    """Three curves over the same minutes; the warm-up, which no figure counts, is shaded."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    minutes = np.array([s.at_s for s in soaked.samples]) / 60
    figure, (memory, lag, latency) = plt.subplots(3, 1, figsize=(10, 8), sharex=True)
    for worker, rss in enumerate(zip(*(s.rss_mb for s in soaked.samples), strict=True)):
        memory.plot(minutes, rss, label=f"worker {worker + 1}")
    memory.set_ylabel("resident memory, MB")
    memory.legend(loc="lower right")
    lags = [np.nan if s.lag is None else s.lag for s in soaked.samples]
    lag.plot(minutes, lags, color="#1d2733")
    lag.set_ylabel("lag, uploads not acknowledged")
    sent = soaked.ledger.sent_s
    at, waits = (sent - np.nanmin(sent)) / 60, (soaked.ledger.stored_s - sent) * 1000
    edges = np.linspace(0, soaked.seconds / 60, BINS + 1)
    held = [waits[(at >= low) & (at < high) & ~np.isnan(waits)] for low, high in pairwise(edges)]  # fmt: skip
    for percentile, colour in ((50, "#1d2733"), (99, "#d1495b")):
        curve = [np.percentile(w, percentile) if len(w) else np.nan for w in held]
        latency.plot(edges[:-1], curve, color=colour, label=f"p{percentile}")
    latency.set_ylabel("upload to answer, ms")
    latency.set_yscale("log")
    latency.legend(loc="upper right")
    latency.set_xlabel("minutes")
    for axes in (memory, lag, latency):
        axes.axvspan(0, soaked.warm_s / 60, color="#eef2f6", zorder=0)
    found = soaked.slope()
    if found.value is not None:
        interval = "" if found.low is None else f" ({found.low:+.1f} to {found.high:+.1f})"
        figure.suptitle(f"memory of all workers: {found.value:+.1f} MB an hour{interval}")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
