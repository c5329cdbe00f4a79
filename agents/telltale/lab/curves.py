"""The curve of a training: written as CSV while it runs, drawn when it ends.

In: rows of figures; ``curve.csv`` (a step a row; other columns are what was watched). Out: that file, and a
PNG, one panel a column. Raises ``UsageError`` for a file that holds no curve.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from telltale.errors import UsageError

CURVE = "curve.csv"
NOT_WATCHED = ("step", "seconds", "pictures")
COLUMNS = 3


def append(curve: Path, row: Mapping[str, float]) -> None:
    """Add a row, under the names that the file began with: a resumed run may have another order."""
    names = list(row)
    if new := not curve.exists():
        curve.parent.mkdir(parents=True, exist_ok=True)
    else:
        with curve.open(newline="") as file:
            names = next(csv.reader(file))
    with curve.open("a", newline="") as file:
        writer = csv.DictWriter(file, names, restval="nan", extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow({k: round(v, 6) for k, v in row.items()})


def plot(curve: Path, picture: Path) -> Path:
    """Draw ``curve`` to ``picture``; steps that a resumed run repeated are drawn as they ended."""
    with curve.open(newline="") as file:
        rows = {int(float(r["step"])): r for r in csv.DictReader(file)}
    if not rows:
        raise UsageError(f"{curve} holds no step; train for longer")
    steps = sorted(rows)
    watched = [name for name in rows[steps[0]] if name not in NOT_WATCHED]
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    high = -(-len(watched) // COLUMNS)
    figure, panels = plt.subplots(
        high, COLUMNS, figsize=(4 * COLUMNS, 2.6 * high), squeeze=False, layout="constrained"
    )
    for panel in panels.flat[len(watched) :]:
        panel.set_axis_off()
    for panel, name in zip(panels.flat, watched, strict=False):
        panel.plot(steps, [float(rows[s][name]) for s in steps], color="#1d2733", linewidth=1)
        panel.set_title(name)
        panel.set_xlabel("step")
    figure.savefig(picture, dpi=110)
    plt.close(figure)
    return picture
