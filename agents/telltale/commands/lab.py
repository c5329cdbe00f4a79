"""``telltale lab``: the bench, training, calibration and evaluation.

Heavy imports happen in the commands. Progress goes to standard error, results to standard output.
"""

from __future__ import annotations

import csv
import io
import json
import random
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from telltale.errors import UsageError
from telltale.models import Detector, Found
from telltale.regions import Pixels
from telltale.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telltale.lab.evaluate import Labelled

FOLDER = click.Path(path_type=Path, file_okay=False)
PARTS = ("detector", "encoder", "judge")


def _say(text: str) -> None:
    Console(stderr=True, highlight=False).print(text)


def _find(pixels: Pixels) -> list[Found]:
    """Faces and parts where no landmarks lie beside a photograph."""
    return _detector().detect([pixels])[0]


@cache
def _detector() -> Detector:
    from telltale.app import Wiring

    return Wiring(load_settings()).detector


@click.group()
def lab() -> None:
    """Offline work: plant edits, train the mini models, calibrate, evaluate."""


@lab.group()
def bench() -> None:
    """Real photographs, each paired with planted edits whose kind, mask and strength are known."""


@bench.command("build")
@click.option(
    "--faces",
    type=FOLDER,
    required=True,
    help="Folder of photographs, landmarks beside them or found.",
)
@click.option("--out", type=FOLDER, required=True, help="Where the bench goes.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
def bench_build(faces: Path, out: Path, seed: int) -> None:
    """Plant edits of every kind in the photographs of a folder."""
    from telltale.lab.bench import build

    if not faces.is_dir():
        raise UsageError(f"--faces {faces}: no such folder")
    build(faces, out, seed, find=_find, say=_say)


@bench.command("show")
@click.option("--faces", type=FOLDER, required=True, help="Folder of photographs.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bench.png"), show_default=True
)
@click.option("--seed", default=0, show_default=True)
def bench_show(faces: Path, out: Path, seed: int) -> None:
    """A contact sheet: every kind of edit at three strengths."""
    from telltale.lab.bench import contact_sheet

    out.write_bytes(contact_sheet(faces, seed, _find))
    click.echo(str(out))


@lab.command()
@click.argument("part", type=click.Choice(PARTS))
@click.option("--faces", type=FOLDER, required=True, help="Folder of photographs with landmarks.")
@click.option(
    "--out",
    type=FOLDER,
    required=True,
    help="Checkpoints, curve and weights; a run resumes from here.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--minutes", default=60.0, show_default=True, help="How long to train from now.")
def train(part: str, faces: Path, out: Path, seed: int, minutes: float) -> None:
    """Train one of the mini models from photographs in a folder."""
    import importlib

    module = importlib.import_module(f"telltale.lab.train_{part}")
    module.train(faces, out, seed=seed, minutes=minutes)


@lab.command()
@click.option(
    "--faces",
    type=FOLDER,
    required=True,
    help="Photographs with landmarks; people not trained on are used.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The calibration file.")
@click.option("--seed", default=0, show_default=True)
@click.option("--rounds", default=12, show_default=True, help="Pairs of each kind of edit.")
def calibrate(faces: Path, out: Path, seed: int, rounds: int) -> None:
    """Fit what similarity means for the models of this profile. Needs 'telltale up'."""
    from telltale.app import Wiring
    from telltale.lab.calibrate import calibrate as fit

    fitted = fit(Wiring(load_settings()), faces, seed, rounds, _say)
    out.write_text(fitted.model_dump_json(indent=1) + "\n")
    click.echo(f"{out}  revision {fitted.revision}")


@lab.command()
@click.option(
    "--bench", "folder", type=FOLDER, help="A bench made by 'lab bench build', or a data set."
)
@click.option(
    "--layout",
    default="bench",
    show_default=True,
    help="bench, faceforensics, celeb-df, df40, genimage or csv.",
)
@click.option("--split", default="test", show_default=True, help="train, val, test or all.")
@click.option(
    "--limit", type=int, help="At most so many pictures, drawn at random with a fixed seed."
)
@click.option("--out", type=FOLDER, help="Also write the tables as JSON, CSV and PNG here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def evaluate(
    folder: Path | None, layout: str, split: str, limit: int | None, out: Path | None, as_json: bool
) -> None:
    """The tables of figures, with intervals, for this profile on a bench. Needs 'telltale up'."""
    from telltale.app import Wiring
    from telltale.lab.evaluate import evaluate as judge
    from telltale.lab.pipeline import Pipeline

    if folder is None or not folder.exists():
        raise UsageError(
            f"--bench {folder}: no such folder; make one with 'telltale lab bench build'"
        )
    samples = _samples(folder, layout, split, limit)
    wiring = Wiring(load_settings())
    table = judge(Pipeline(wiring), samples, _say)
    table["weights"] = {
        "detector": wiring.detector.revision, "encoder": wiring.encoder.revision, "judge": wiring.judge.revision,
        "calibration": wiring.calibration.revision if wiring.calibration else None,
    }  # fmt: skip
    table["bench"] = _digest(folder)
    if out is not None:
        _write(out, table)
    if as_json:
        click.echo(json.dumps(table))
    else:
        _show(table)


def _samples(folder: Path, layout: str, split: str, limit: int | None) -> Sequence[Labelled]:
    from telltale.lab.datasets import load
    from telltale.lab.evaluate import Labelled

    found = [s for s in load(layout, folder) if split == "all" or s.split in (split, None)]
    if not found:
        raise UsageError(f"{folder} holds no sample of split {split!r}")
    if limit is not None and limit < len(found):
        # drawn, not every n-th: real and edited pictures take turns in a bench
        found = [found[i] for i in sorted(random.Random(0).sample(range(len(found)), limit))]
    return [
        Labelled(s.read, bool(s.label), s.person or s.name, s.kind, s.cue_id, s.strength)
        for s in found
    ]


def _digest(folder: Path) -> str:
    import hashlib

    sha = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sha.update(str(path.relative_to(folder)).encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()[:16]


def _flat(table: dict[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    single = [(k, v) for k, v in table.items() if isinstance(v, dict) and "value" in v]
    kinds = [(f"auroc of {k}", v) for k, v in table["auroc_by_kind"].items()]
    return [(name, v["value"], v["low"], v["high"]) for name, v in [*single, *kinds]]


def _show(table: dict[str, Any]) -> None:
    shown = Table(
        "figure",
        "value",
        "95% interval",
        title=f"{table['pictures']} pictures of {table['people']} people",
    )
    for name, value, low, high in _flat(table):
        shown.add_row(name, _number(value), f"{_number(low)} to {_number(high)}")
    Console(highlight=False).print(shown)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _write(out: Path, table: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(table, indent=1))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("figure", "value", "low", "high"))
    writer.writerows(_flat(table))
    (out / "evaluation.csv").write_text(text.getvalue())
    rows = [r for r in _flat(table) if r[1] is not None][::-1]
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(rows) + 1))
    for n, (_, value, low, high) in enumerate(rows):
        if low is not None:
            axes.plot([low, high], [n, n], color="#9fb3c8", linewidth=4)
        axes.plot(value, n, "o", color="#1d2733")
    axes.set_yticks(range(len(rows)), [r[0] for r in rows])
    axes.set_xlim(0, 1)
    axes.axvline(0.5, color="#d9e0e7", zorder=0)
    figure.tight_layout()
    figure.savefig(out / "evaluation.png", dpi=120)
    plt.close(figure)
