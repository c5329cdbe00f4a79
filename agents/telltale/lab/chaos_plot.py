"""The timeline of a run under faults, as PNG: what flowed when, what struck, how long it took.

In: ``Outcome``. Out: a file. Raises ``OSError`` when it cannot be written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from telltale.lab.chaos import Outcome

COLOURS = {
    "SIGKILL": "#d1495b", "SIGTERM": "#e0a100", "SIGSTOP": "#5b6abf", "broker": "#1d2733",
    "none": "#9fb3c8", "add": "#6c757d",
    "after-compute": "#2a9d8f", "after-send": "#52b788", "before-acknowledgement": "#8a5a44",
    "after-acknowledgement": "#b07aa1",
}  # fmt: skip
BINS = 240


def plot(outcome: Outcome, path: Path) -> None:
    """Rates of sending and answering, the wait of each upload, and recovery from each fault."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ledger = outcome.ledger
    start = float(np.nanmin(ledger.sent_s))
    sent, heard = ledger.sent_s - start, ledger.heard_s - start
    span = float(max(np.nanmax(sent), np.nanmax(heard, initial=0.0))) or 1.0
    figure, (rates, waits, recovery) = plt.subplots(3, 1, figsize=(11, 8), sharex=True)
    edges = np.linspace(0, span, BINS + 1)
    for times, colour, label in ((sent, "#9fb3c8", "sent"), (heard, "#1d2733", "answered")):
        counts, _ = np.histogram(times[~np.isnan(times)], edges)
        rates.step(edges[:-1], counts * BINS / span, where="post", color=colour, label=label)
    rates.set_ylabel("events a second")
    waits.plot(sent, heard - sent, ".", markersize=2, color="#1d2733")
    waits.set_ylabel("upload to answer, s")
    waits.set_yscale("log")
    recovery.set_ylabel("until every partition\nanswers again, s")
    told: set[str] = set()
    for fault in outcome.faults:
        if fault.at_s is None:
            continue
        parts = fault.kind.split()  # of a signal at a step, the signal is the rim
        at, colour, rim = fault.at_s - start, COLOURS[parts[-1]], COLOURS[parts[0]]
        for axes in (rates, waits):
            axes.axvline(at, color=colour, linewidth=0.8, alpha=0.6)
        if fault.recovery_s is not None and np.isfinite(fault.recovery_s):
            mark, name = "o" if fault.calm else "^", "" if fault.kind in told else fault.kind
            told.add(fault.kind)
            recovery.plot(
                at, fault.recovery_s, mark, color=colour, markeredgecolor=rim, label=name or None
            )
    rates.legend(loc="upper right")
    if told:
        recovery.legend(loc="center right", ncols=4, fontsize=8)
    recovery.set_ylim(bottom=0)
    recovery.set_xlabel("seconds  (triangles: struck while the last fault was still being mended)")
    account = outcome.audit
    figure.suptitle(
        f"{account.sent} sent, {account.answered} answered, {account.lost} lost,"
        f" {account.duplicate_emissions} repeats under {len(outcome.faults)} faults"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
