"""``telltale lab``: the bench, training and calibration; with the commands of other files.

Heavy imports happen in the commands. Progress goes to standard error, results to standard output.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from telltale.commands.chaos import chaos, soak
from telltale.commands.evaluating import FOLDER, PARTS, evaluate, say
from telltale.errors import UsageError
from telltale.models import Detector, Found
from telltale.regions import Pixels
from telltale.settings import load_settings

if TYPE_CHECKING:
    pass


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


lab.add_command(chaos)
lab.add_command(soak)
lab.add_command(evaluate)


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
@click.option(
    "--people",
    "listed",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV file,person: who is in which photograph. Unset: where all lie in several subfolders, a "
    "folder is a person; else a name up to its first '_' is one (001_smiling.jpg), but where that only "
    "counts photographs (IMG_1001.jpg, photo_2.jpg) each is of a person of its own. A bench is split by "
    "person, and features are pasted between people.",
)
@click.option("--out", type=FOLDER, required=True, help="Where the bench goes.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option(
    "--elsewhere",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the pairs set before another background, in other light, taken by another camera; "
    "wants photographs taken before an even wall.",
)
def bench_build(faces: Path, listed: Path | None, out: Path, seed: int, elsewhere: float) -> None:
    """Plant edits of every kind in the photographs of a folder."""
    from telltale.lab.bench import build

    if not faces.is_dir():
        raise UsageError(f"--faces {faces}: no such folder")
    build(faces, out, seed, find=_find, say=say, elsewhere=elsewhere, listed=listed)


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
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same material.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0),
    help="Stop after so many minutes of this run's steps, material drawn; the same command goes on. "
    "Unset: train all steps.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Steps in all, over resumed runs, which set how the rate is let down. Unset: the model's own, "
    "about an hour and a half of a core without a GPU.",
)
@click.option(
    "--start",
    type=FOLDER,
    help="Folder of weights to begin with; of an encoder the --out of its earlier training.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Of an encoder pairs a step, of a judge tokens, of a detector pictures. Unset: the model's own.",
)
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    help="How much an encoder or a judge draws to learn from; going on with more draws the rest. "
    "Unset: the model's own.",
)
@click.option(
    "--scenes",
    type=FOLDER,
    multiple=True,
    help="Of a detector, as often as wanted: photographs without people, to stand behind faces beside "
    "those that Python packages carry.",
)
@click.option("--ship", is_flag=True, help="Also copy the finished weights into the package.")
def train(
    part: str, faces: Path, out: Path, seed: int, minutes: float | None, steps: int | None, start: Path | None,
    batch: int | None, shards: int | None, scenes: tuple[Path, ...], ship: bool,
) -> None:  # fmt: skip
    """Train one of the mini models from photographs in a folder; on a GPU where there is one."""
    from telltale.lab import training

    if part == "detector" and shards is not None:
        raise UsageError("--shards: a detector draws its pictures as it goes; leave it out")
    if part != "detector" and scenes:
        raise UsageError(
            f"--scenes: only a detector learns before scenes, not {part}; leave it out"
        )
    for folder in scenes:
        if not folder.is_dir():
            raise UsageError(f"--scenes {folder}: no such folder")
    given = {"batch": batch, "shards": shards, "scenes": scenes or None}
    material = {name: value for name, value in given.items() if value is not None}
    weights = training.train(
        part, training.Order(faces, out, seed, minutes, steps, start, material, ship)
    )
    if ship:
        say(f"shipped; {training.AFTER[part]}")
    click.echo(str(weights))


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

    wiring = Wiring(load_settings())
    wiring.load_cues()  # by this encoder's own embeddings; before the work rather than after half of it
    fitted = fit(wiring, faces, seed, rounds, say)
    out.write_text(fitted.model_dump_json(indent=1) + "\n")
    click.echo(f"{out}  revision {fitted.revision}")


@lab.command()
@click.option(
    "--faces",
    type=FOLDER,
    required=True,
    help="Photographs with landmarks; people trained on are used.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .safetensors file; JSON goes beside it. Unset: where this profile loads them from.",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--each", default=4, show_default=True, help="Pairs of a kind and strength.")
def exemplars(faces: Path, out: Path | None, seed: int, each: int) -> None:
    """Known examples of every planted edit, for retrieval; 'telltale cues load' loads them."""
    from telltale.app import Wiring
    from telltale.commands.preparing import exemplars_file
    from telltale.lab.exemplars import make

    settings = load_settings()
    path = out or exemplars_file(settings)
    try:
        made = make(Wiring(settings).encoder, faces, path, seed, each)
    except LookupError as error:
        raise UsageError(f"--faces {faces}: {error}") from error
    click.echo(f"{path}  {len(made.exemplars)} known examples for encoder {made.encoder}")
