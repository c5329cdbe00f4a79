"""The figures of ``telltale bench stream`` for people: a table and a plot.

In: the dictionary of ``stream_measure.measure``. Out: a rich ``Table``, and a PNG with every run as a
point. Nothing fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

# (figure, what it is, aim, whether more is better)
AIMS: dict[str, tuple[str, float | None, bool]] = {
    "ratio_to_bare": ("images/s, of the bare loop over the same model calls", 0.9, True),
    "ratio_to_stages": ("images/s, of the stages called directly", None, True),
    "ratio_to_naive": ("images/s, of the plain Faust app", None, True),
    "added_latency_ms.p50": ("added by seven empty stages, one event at a time, ms", 30.0, False),
    "added_latency_ms.p99": ("the same, 99th percentile, ms", 100.0, False),
    "added_latency_with_models_ms.p50": ("beyond the stages' own work with models, ms", 30.0, False),
    "added_latency_with_models_ms.p99": ("the same, 99th percentile, ms", 100.0, False),
    "plumbing_events_per_s": ("through all seven, empty models", 2000.0, True),
    "plumbing_filled_events_per_s": ("the same with a real verdict's sections", None, True),
    "plumbing_naive_events_per_s": ("through as many plain Faust apps, empty models", None, True),
    "plumbing_cpu_us_per_event_per_stage": ("workers' processor time, µs", None, False),
}  # fmt: skip


def found(figures: dict[str, Any], name: str) -> float | None:
    """A figure by its dotted name; None if it was not measured."""
    value: Any = figures
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None else float(value)


def table(figures: dict[str, Any]) -> Table:
    """Each figure beside its aim."""
    plan, machine = figures["plan"], figures["machine"]
    shown = Table(
        "figure", "what it is", "median", "aim",
        title=f"{plan['runs']} runs on {machine['cpus']} cpus, load {machine['load_before']} before",
    )  # fmt: skip
    for name, (meaning, aim, more) in AIMS.items():
        value = found(figures, name)
        if value is None:
            continue
        met = aim is None or (value >= aim if more else value <= aim)
        colour = "green" if met else "red"
        wanted = "" if aim is None else f"{'at least' if more else 'at most'} {aim:g}"
        shown.add_row(name, meaning, f"[{colour}]{value:g}[/]" if wanted else f"{value:g}", wanted)
    return shown


def plot(figures: dict[str, Any], path: Path) -> None:
    """Images a second, latency at low load and events a second, every run drawn."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    runs = figures["runs"]
    figure, (images, latency, events) = plt.subplots(1, 3, figsize=(15, 4.5))
    _bars(images, runs.get("images_per_s", {}), "images per second, real models")
    for run in runs["added_latency_ms"]:
        ranked = sorted(run["all"])
        latency.step(ranked, [(n + 1) / len(ranked) for n in range(len(ranked))], where="post")
    for name, style in (("added_latency_ms.p50", ":"), ("added_latency_ms.p99", "--")):
        latency.axvline(AIMS[name][1], color="grey", linestyle=style)
    latency.set(
        title="added latency at low load, empty models", xlabel="ms", ylabel="share of events"
    )
    names = {
        "empty": "plumbing_events_per_s",
        "filled": "plumbing_filled_events_per_s",
        "naive": "plumbing_naive_events_per_s",
    }
    _bars(
        events,
        {k: runs[v] for k, v in names.items() if v in runs},
        "events per second, empty models",
    )
    events.axhline(AIMS["plumbing_events_per_s"][1], color="grey", linestyle="--")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(axes: Any, runs: dict[str, list[float]], title: str) -> None:
    if not runs:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
    for place, (name, values) in enumerate(runs.items()):
        axes.bar(place, sorted(values)[len(values) // 2], color="lightsteelblue")
        axes.plot([place] * len(values), values, "k.")
        axes.text(place, 0, f" {name}", rotation=90, va="bottom", ha="center")
    axes.set(title=title, xticks=[])
