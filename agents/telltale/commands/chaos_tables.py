"""What ``telltale lab chaos`` and ``telltale lab soak`` print for people.

In: ``Outcome``, ``Soaked``. Out: tables on standard output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from telltale.lab.chaos import Outcome
    from telltale.lab.soak import Soaked

AIM_S = {"SIGKILL": 15.0, "SIGTERM": 5.0}


def _account(found: dict[str, int], title: str) -> Table:
    meaning = {
        "sent": "uploads that the broker confirmed",
        "answered": "of those, with an answer under the id that follows from theirs",
        "lost": "of those, without",
        "duplicate_effects": "had twice by whoever acts once an id",
        "duplicate_emissions": "repeats, each with the id of its original",
        "foreign_ids": "answers under an id that follows from no upload",
        "altered_repeats": "repeats whose bytes differ from their original's",
        "dead": "dead letters",
        "altered_dead": "dead letters whose key, value or headers are not those of what died",
    }
    table = Table("account", "count", "what is counted", title=title)
    for name, count in found.items():
        table.add_row(name, str(count), meaning[name])
    return table


def show_chaos(outcome: Outcome, what: str) -> None:
    """The account, and how long each kind of fault was felt."""
    from telltale.lab.chaos import summary

    screen = Console(highlight=False)
    screen.print(_account(outcome.audit.public(), what))
    for name, count in outcome.rows.items():
        screen.print(f"rows, {name.replace('_', ' ')}: {count}")
    table = Table(
        "fault", "times", "recovery median, s", "longest, s", "asked for", "never recovered",
        title="until every partition answers again what was sent after the fault",
    )  # fmt: skip
    for kind in sorted({f.kind for f in outcome.faults}):
        found = summary(outcome.recovery_s(kind))
        row = ["–" if found[n] is None else f"{found[n]:.1f}" for n in ("median", "max")]
        aim = f"at most {AIM_S[kind]:g}" if kind in AIM_S else "–"
        times = sum(f.kind == kind for f in outcome.faults)
        table.add_row(kind, str(times), *row, aim, str(found["never"]))
    screen.print(table)
    _show_exits(screen, outcome.unasked)


def show_soak(soaked: Soaked, what: str) -> None:
    """The account, and what memory, lag and latency did."""
    screen = Console(highlight=False)
    screen.print(_account(soaked.audit.public(), what))
    table = Table("figure", "value", title=f"after {soaked.warm_s:.0f} s of warm-up")
    each = [(f"worker {n + 1}", soaked.slope(n)) for n in range(soaked.workers)]
    for name, found in [("all workers", soaked.slope()), *each]:
        text = "too few samples" if found.value is None else f"{found.value:+.1f}"
        if found.low is not None:
            text += f" ({found.low:+.1f} to {found.high:+.1f})"
        table.add_row(f"memory, {name}, MB an hour", text)
    p50, p99 = soaked.latency_ms(50, 99)
    table.add_row("upload to answer, p50 and p99, ms", f"{p50}, {p99}")
    lags = [s.lag for s in soaked.warm if s.lag is not None]
    table.add_row("most uploads not acknowledged", str(max(lags, default="–")))
    screen.print(table)
    _show_exits(screen, soaked.unasked)


def _show_exits(screen: Console, unasked: list[str]) -> None:
    if unasked:
        screen.print(f"workers that ended though nobody hurt them: {'; '.join(unasked)}")
