"""The curve of a training, drawn from the CSV that it wrote.

In: ``curve.csv`` (a step a row; other columns are what was watched). Out: a PNG, one panel a column.
Raises ``UsageError`` for a file that holds no curve.
"""

from __future__ import annotations

import csv
from pathlib import Path

from telltale.errors import UsageError

CURVE = "curve.csv"
NOT_WATCHED = ("step", "seconds", "pictures")
COLUMNS = 3


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
