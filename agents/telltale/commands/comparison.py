"""A comparison of verdicts for a person: tables and a picture.

In: a ``Comparison``. Out: text on the terminal, a PNG. Fails like any file that cannot be written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from telltale.delivery.comparing import Comparison
from telltale.errors import UsageError
from telltale.events import VerdictLabel

LABELS: tuple[VerdictLabel, ...] = get_args(VerdictLabel)
SHOWN = 20  # rows of a list; --json has all


def tables(found: Comparison) -> None:
    """Print what changes, the whole before its parts."""
    out = Console(highlight=False)
    out.print(f"replay {found.replay_id}: {len(found.flips)} of {len(found.pairs)} verdicts flip")
    for images, what in (
        (found.only_old, "answered live, but not by the replay (yet)"),
        (found.only_new, "answered by the replay, but not live"),
        (found.unanswered, "answered by neither"),
    ):
        if images:
            out.print(f"{len(images)} {what}: {_few(images)}")
    if not found.pairs:
        return
    out.print(_matrix(found))
    _print_probability(found, out)
    out.print(_versions(found))
    out.print(_cues(found))


def draw(found: Comparison, path: Path) -> None:
    """A PNG: verdicts old against new, probability shifts, and checks changed by cue."""
    from matplotlib.figure import Figure  # a figure of its own: no window, no global state

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    verdicts, shifts, cues = figure.subplots(1, 3)
    figure.suptitle(f"replay {found.replay_id}: {len(found.flips)} of {len(found.pairs)} flip")
    counts = [[found.matrix[old, new] for new in LABELS] for old in LABELS]
    verdicts.imshow(counts, cmap="Blues")
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            dark = count > max(map(max, counts)) / 2
            verdicts.text(x, y, count, ha="center", va="center", color="white" if dark else "black")
    verdicts.set(xlabel="new verdict", ylabel="old verdict")
    verdicts.set_xticks(range(len(LABELS)), LABELS, rotation=30)
    verdicts.set_yticks(range(len(LABELS)), LABELS)
    shifts.hist(list(found.shifts.values()), bins=41, range=(-1, 1))
    shifts.set(xlabel="new minus old probability of manipulation", ylabel="images")
    _draw_cues(found, cues)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise UsageError(f"--plot {path} cannot be written: {error.strerror}") from error


def _draw_cues(found: Comparison, axes: Any) -> None:
    rows = _moved_cues(found)[:SHOWN]
    names = [cue for cue, _ in rows]
    left = [0] * len(rows)
    for what in ("changed", "new", "gone"):
        sizes = [_size(counts[what]) for _, counts in rows]
        axes.barh(names, sizes, left=left, label=what)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="claims")
    axes.tick_params(axis="y", labelsize=7)
    if rows:
        axes.legend()


def _matrix(found: Comparison) -> Table:
    table = Table("old verdict", *(f"now {label}" for label in LABELS), title="verdicts")
    for old in LABELS:
        row = [found.matrix[old, new] for new in LABELS]
        if any(row):
            table.add_row(old, *(str(count) if count else "" for count in row))
    return table


def _print_probability(found: Comparison, out: Console) -> None:
    moved: Any = found.probability()
    if not moved["images"]:
        return
    at = ", ".join(f"{q} {shift:+.3f}" for q, shift in moved["quantiles"].items())
    out.print(
        f"probability of manipulation, new minus old, {moved['images']} images: mean"
        f" {moved['mean']:+.3f}, mean size {moved['mean_size']:.3f}; quantiles {at}"
    )
    for one in moved["largest"]:
        out.print(f"  {one['shift']:+.3f}  {one['image_id']}")


def _versions(found: Comparison) -> Table:
    table = Table("of", "old", "new", title="by version")
    for column in ("images", "flips", "mean shift"):
        table.add_column(column, justify="right")
    for row in found.by_version():
        shift = row["mean_shift"]
        table.add_row(
            str(row["what"]), str(row["old"] or "–"), str(row["new"] or "–"), str(row["images"]),
            str(row["flips"]), "–" if shift is None else f"{shift:+.3f}",
            style=None if row["old"] != row["new"] else "dim",
        )  # fmt: skip
    return table


def _cues(found: Comparison) -> Table:
    table = Table("cue", "same", "check changed", "new", "gone", title="claims by cue")
    rows = _moved_cues(found)
    for cue, counts in rows[:SHOWN]:
        changed = ", ".join(f"{n} {way}" for way, n in counts["changed"].items())
        table.add_row(cue, str(counts["same"]), changed, str(counts["new"]), str(counts["gone"]))
    if len(rows) > SHOWN:
        table.caption = f"the {SHOWN} that moved most of {len(rows)}; --json has all"
    return table


def _moved_cues(found: Comparison) -> list[tuple[str, dict[str, Any]]]:
    """Cues whose claims changed in any way, the most changed first."""
    by_cue: dict[str, Any] = found.by_cue()
    moved = {
        cue: sum(_size(counts[what]) for what in ("changed", "new", "gone"))
        for cue, counts in by_cue.items()
    }
    order = sorted((c for c in moved if moved[c]), key=lambda c: (-moved[c], c))
    return [(cue, by_cue[cue]) for cue in order]


def _size(count: Any) -> int:
    return sum(count.values()) if isinstance(count, dict) else int(count)


def _few(images: Any) -> str:
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    return ", ".join(images[:SHOWN]) + more
