"""One way to train each of the mini models: a bar, a curve, weights, and whether they are shipped.

In: which model, photographs, a folder for checkpoints, a seed, steps, perhaps minutes. Out: in that
folder the weights, ``curve.csv`` and ``curve.png``; with ``ship`` finished weights also in the
package. A run that was cut off goes on. Raises ``UsageError`` for a folder of another training or
without usable photographs, ``WeightsMissing`` for a judge without an encoder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from telltale.errors import UsageError
from telltale.lab.curves import CURVE, plot
from telltale.lab.sharing import Told

TRAINING = "training.json"
"""In the output folder: which training lies there."""
AFTER = {
    "detector": "measure it again, and make the calibration anew: telltale lab calibrate",
    "encoder": "judge, calibration and exemplars belong to the encoder before: telltale lab train "
    "judge, telltale lab calibrate, telltale lab exemplars",
    "judge": "make the calibration anew: telltale lab calibrate",
}
"""What no longer fits once a model is another."""


@dataclass(frozen=True)
class Order:
    """What to train and for how long: to ``steps`` in all (unset: the model's own number).

    ``minutes``, where given, end this run's steps before; the same order goes on. ``start`` is a folder of weights to begin with, of an encoder its earlier ``out``; unset means random ones. ``material`` overrides
    how much is prepared to learn from, by the names of the train functions.
    """

    faces: Path
    out: Path
    seed: int
    minutes: float | None = None
    steps: int | None = None
    start: Path | None = None
    material: dict[str, Any] = field(default_factory=dict)
    ship: bool = False
    """Whether the finished weights also go into the package."""


def train(part: str, order: Order) -> Path:
    """Train ``detector``, ``encoder`` or ``judge``; the path of its weights. See the module."""
    if order.start is not None:
        _startable(part, order.start)
    _claim(part, order)
    begun = any(order.out.glob("checkpoint.*"))
    try:
        with _bars(part) as (told, steps):
            weights = TRAININGS[part](order, told)
    except LookupError as error:
        if isinstance(error, KeyError | IndexError):
            raise  # a fault of ours, not of the photographs
        raise UsageError(f"--faces {order.faces}: {error}") from error
    except (ValueError, RuntimeError) as error:
        if not begun:
            raise
        raise UsageError(
            f"--out {order.out} cannot go on from its checkpoint ({_first_line(error)}); "
            "train in another folder, or as that training was begun"
        ) from error
    curve = order.out / CURVE
    if curve.exists():
        plot(curve, curve.with_suffix(".png"))
    if order.ship:
        if steps[part][0] < steps[part][1]:
            raise UsageError(
                "--ship: these weights are not finished, and the package keeps those it has; "
                "the same command without --minutes goes on to the end"
            )
        ship(part, weights)
    return weights


def ship(part: str, weights: Path) -> None:
    """Copy finished weights into the package."""
    from telltale.models.files import mini_folder

    if part == "encoder":
        from telltale.lab.train_encoder import ship as copied

        copied(weights)
    elif part == "judge":
        from telltale.lab.train_judge import ship as copied

        copied(weights)
    else:
        mini_folder().mkdir(parents=True, exist_ok=True)
        for path in (weights, weights.with_suffix(".json")):
            shutil.copyfile(path, mini_folder() / path.name)


def _claim(part: str, order: Order) -> None:
    """A folder holds one training: of one model, from one seed."""
    if not order.faces.is_dir():
        raise UsageError(f"--faces {order.faces}: no such folder")
    path, mine = order.out / TRAINING, {"part": part, "seed": order.seed}
    if path.exists() and (held := json.loads(path.read_text())) != mine:
        raise UsageError(
            f"--out {order.out} holds a training of the {held['part']} from seed {held['seed']}; "
            "name another folder, or the same model and --seed to go on"
        )
    order.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine) + "\n")


STARTS = {
    "detector": "detector.safetensors", "encoder": "checkpoint.pt", "judge": "model.safetensors",
}  # fmt: skip
"""What must lie in a folder to begin with. An encoder goes on with its optimizer and its schedule."""


def _startable(part: str, start: Path) -> None:
    """Whether a training of that model can begin with that folder."""
    if not (start / STARTS[part]).is_file():
        raise UsageError(f"--start {start}: no {STARTS[part]} there")


@contextmanager
def _bars(part: str) -> Iterator[tuple[Told, dict[str, tuple[int, int]]]]:
    """A bar for each kind of material that is drawn, then for the steps; and what is left of them.

    Gives whom to tell, and of each bar what it was told last.
    """
    tasks: dict[str, TaskID] = {}
    steps: dict[str, tuple[int, int]] = {}
    shows = Console(stderr=True, highlight=False)

    with Progress(*Progress.get_default_columns(), console=shows) as shown:

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what)
            shown.update(tasks[what], completed=done, total=total)
            steps[what] = done, total

        yield told, steps
    done, total = steps[part]
    if done < total:
        shows.print(
            f"stopped at step {done} of {total} by --minutes: the rate is not let down yet, so these "
            "weights are not finished; the same command goes on"
        )


def _detector(order: Order, told: Told) -> Path:
    from telltale.lab import train_detector

    steps = order.steps or train_detector.STEPS
    # weights that have learned already would be thrown back by the full rate
    rate = train_detector.PEAK_RATE / (1 if order.start is None else 2)
    weights = train_detector.train(
        order.faces, order.out, order.seed, order.minutes,
        progress=lambda row: told("detector", int(row["step"]), steps),
        steps=steps, start=order.start, peak_rate=rate, told=told, **order.material,
    )  # fmt: skip
    done = json.loads(weights.with_suffix(".json").read_text())["training"]["done"]
    told("detector", done, steps)
    return weights


def _encoder(order: Order, told: Told) -> Path:
    from telltale.lab import train_encoder
    from telltale.models.clip import TOKENIZER_FOLDER

    checkpoint = order.out / STARTS["encoder"]
    if order.start is not None and not checkpoint.exists():
        tokenizer = Path("weights", TOKENIZER_FOLDER)
        shutil.copytree(order.start / tokenizer, order.out / tokenizer, dirs_exist_ok=True)
        shutil.copyfile(order.start / checkpoint.name, checkpoint)
    return train_encoder.train(
        order.faces, order.out, order.seed, order.minutes,
        steps=order.steps or train_encoder.STEPS, told=told, **order.material,
    )  # fmt: skip


def _judge(order: Order, told: Told) -> Path:
    from telltale.lab import train_judge

    return train_judge.train(
        order.faces, order.out, order.seed, order.minutes, order.steps or train_judge.STEPS,
        start=order.start, told=told, **order.material,
    )  # fmt: skip


TRAININGS: dict[str, Callable[[Order, Told], Path]] = {
    "detector": _detector,
    "encoder": _encoder,
    "judge": _judge,
}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
