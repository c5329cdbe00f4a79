"""``telltale lab evaluate``: how good a profile is on a bench or a data set, or one model by itself.

In: what to measure and on what. Out: tables, or one JSON object; files where asked. Progress goes to
standard error. Raises ``UsageError`` for folders and options that do not go together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from telltale.errors import UsageError
from telltale.settings import load_settings

if TYPE_CHECKING:
    from telltale.lab.datasets import Sample
    from telltale.lab.pipeline import Judged

FOLDER = click.Path(path_type=Path, file_okay=False)
PARTS = ("detector", "encoder", "judge")


def say(text: str) -> None:
    """A line of progress."""
    Console(stderr=True, highlight=False).print(text)


@click.command()
@click.option(
    "--bench",
    "folder",
    type=click.Path(path_type=Path),
    help="A bench made by 'lab bench build', or a data set.",
)
@click.option(
    "--layout",
    default="bench",
    show_default=True,
    help="bench, faceforensics, celeb-df, df40, genimage or csv.",
)
@click.option("--split", default="test", show_default=True, help="train, val, test or all.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="At most so many pictures, spread over edits, strengths and people.",
)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(("retrieval", "cues", "verification")),
    help="Also judge without a part of the method, and test the difference. May be repeated.",
)
@click.option(
    "--recompress",
    default=120,
    show_default=True,
    help="Untouched pictures sent through JPEG once more, a check; 0 leaves it out.",
)
@click.option("--outside", is_flag=True, help="Also photographs that installed packages carry.")
@click.option(
    "--part",
    type=click.Choice(PARTS),
    help="Instead of the whole: one of the mini models by itself, as its card has it, on --faces.",
)
@click.option("--faces", type=FOLDER, help="With --part: photographs with landmarks.")
@click.option("--weights", type=click.Path(path_type=Path), help="With --part: other weights.")
@click.option("--seed", default=1, show_default=True, help="With --part: what is drawn.")
@click.option(
    "--out",
    type=FOLDER,
    help="Also write the tables as JSON, CSV and PNG here, and (without --part) every answer as a line "
    "of JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on one line.")
def evaluate(
    folder: Path | None,
    layout: str,
    split: str,
    limit: int | None,
    without: tuple[str, ...],
    recompress: int,
    outside: bool,
    part: str | None,
    faces: Path | None,
    weights: Path | None,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """The tables of figures, with intervals, for this profile on a bench. Needs 'telltale up'.

    With --part, the figures of one model by itself, as JSON; that needs no servers.
    """
    from telltale.lab import report

    if part is not None:
        from telltale.lab.parts import Asked, measured

        if faces is None:
            raise UsageError("--part needs --faces: a folder of photographs with landmarks")
        if folder is not None or without or outside:
            raise UsageError(
                "--part measures a model by itself: no --bench, --without or --outside"
            )
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)  # before the work rather than after it
        figures = measured(part, Asked(faces, weights, seed, limit))
        if out is not None:
            report.write(out, figures)
        click.echo(json.dumps(figures, indent=None if as_json else 1))
        return
    if folder is None or not folder.exists():
        raise UsageError(
            f"--bench {folder}: no such folder; make one with 'telltale lab bench build'"
        )
    with ExitStack() as undo:
        answers = None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            answers = undo.enter_context((out / "answers.jsonl").open("w"))

        def keep(sample: Sample, judged: Judged) -> None:
            if answers is not None:
                print(report.answer_line(sample, judged), file=answers)

        table = _evaluated(folder, layout, split, limit, without, recompress, outside, keep)
    if out is not None:
        report.write(out, table)
    if as_json:
        click.echo(json.dumps(table))
    else:
        report.show(table)


def _evaluated(
    folder: Path,
    layout: str,
    split: str,
    limit: int | None,
    without: tuple[str, ...],
    recompress: int,
    outside: bool,
    keep: Callable[[Sample, Judged], object],
) -> dict[str, Any]:
    from telltale.app import Wiring
    from telltale.lab import report
    from telltale.lab.datasets import load
    from telltale.lab.evaluate import evaluate as judged
    from telltale.lab.outside import evaluate_outside
    from telltale.lab.people import groups_of
    from telltale.lab.pipeline import Pipeline
    from telltale.lab.sampling import drawn, of_split

    samples = of_split(load(layout, folder), split)
    if limit is not None:
        samples = drawn(samples, limit)
    wiring = Wiring(load_settings())
    if wiring.calibration is None:
        say(f"encoder {wiring.encoder.revision}: {report.UNCALIBRATED}")
    pipeline = Pipeline(wiring)
    table = judged(pipeline, samples, groups_of(folder), without, recompress, keep=keep)
    if outside:
        table["outside"] = evaluate_outside(pipeline, wiring.detector)
    pipeline.close()
    table["weights"] = {
        "detector": wiring.detector.revision, "encoder": wiring.encoder.revision,
        "judge": wiring.judge.revision,
        "calibration": wiring.calibration.revision if wiring.calibration else None,
    }  # fmt: skip
    return table
