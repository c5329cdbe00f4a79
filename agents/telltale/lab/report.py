"""An evaluation for people: tables on the terminal, and JSON, CSV and PNG in a folder.

In: what ``evaluate`` and ``evaluate_outside`` return. Out: text and files. A figure is whatever
has ``value``, ``low`` and ``high``, however deep it lies; its name is the path to it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from telltale.lab.datasets import Sample
from telltale.lab.pipeline import Judged

Row = tuple[str, float | None, float | None, float | None]
UNCALIBRATED = (
    "not calibrated: every probability is .5 and every verdict inconclusive, so these figures say nothing; "
    "run 'telltale lab calibrate' and name its file in TELLTALE_CALIBRATION_FILE"
)


def rows_of(table: dict[str, Any], path: str = "") -> Iterator[Row]:
    """Every figure of a table: name, value, low, high."""
    if "value" in table:
        yield path, table["value"], table["low"], table["high"]
        return
    for key, value in table.items():
        if isinstance(value, dict):
            yield from rows_of(value, f"{path}: {key}" if path else key)


def show(table: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console(highlight=False)
    title = f"{table['pictures']} pictures of {table['people']} people, bench {table['bench']}"
    shown = Table("figure", "value", "95% interval", title=title)
    for name, value, low, high in rows_of(table):
        shown.add_row(name, _number(value), f"{_number(low)} to {_number(high)}")
    console.print(shown)
    if "weights" in table and table["weights"]["calibration"] is None:
        console.print(UNCALIBRATED)
    for name, part in table.get("without", {}).items():
        test = part["mcnemar"]
        console.print(
            f"without {name}: {test['only_first']} pictures right only with it, "
            f"{test['only_second']} only without it, McNemar's p = {test['p']:.3g}"
        )
    if "outside" in table:
        _show_outside(console, table["outside"])


def write(out: Path, table: dict[str, Any]) -> None:
    """Write ``evaluation.json``, ``evaluation.csv`` and ``evaluation.png`` to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(table, indent=1) + "\n")
    rows = list(rows_of(table))
    with (out / "evaluation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("figure", "value", "low", "high"))
        writer.writerows(rows)
    _plot(out / "evaluation.png", [r for r in rows if ": difference:" not in r[0]])


def answer_line(sample: Sample, judged: Judged) -> str:
    """One picture as a line of ``answers.jsonl``: what it is, and the verdict with its regions."""
    event = judged.verdict
    regions = event.detection.regions if event.detection else ()
    line = {
        "picture": sample.name, "label": sample.label, "kind": sample.kind,
        "strength": sample.strength, "cue_id": sample.cue_id, "person": sample.person,
        "verdict": event.verdict.model_dump(mode="json"), "features": judged.features,
        "regions": {r.region_id: [round(v, 1) for v in r.box_px] for r in regions},
    }  # fmt: skip
    return json.dumps(line)


def _show_outside(console: Console, outside: dict[str, Any]) -> None:
    shown = Table("photograph", "faces", "found", "false", "verdict", "probability", "reasons",
                  title="untouched photographs outside the studio")  # fmt: skip
    for row in outside["rows"]:
        probability, reasons = _number(row["probability"]), ", ".join(row["reasons"])
        shown.add_row(row["photograph"], str(row["faces"]), str(row["faces_found"]),
                      str(row["faces_false"]), row["verdict"], probability, reasons)  # fmt: skip
    console.print(shown)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _plot(path: Path, rows: list[Row]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    known = [r for r in rows if r[1] is not None][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.28 * len(known) + 1))
    for n, (_, value, low, high) in enumerate(known):
        if low is not None:
            axes.plot([low, high], [n, n], color="#9fb3c8", linewidth=4)
        axes.plot(value, n, "o", color="#1d2733")
    axes.set_yticks(range(len(known)), [r[0] for r in known])
    axes.set_xlim(0, 1)
    axes.axvline(0.5, color="#d9e0e7", zorder=0)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
