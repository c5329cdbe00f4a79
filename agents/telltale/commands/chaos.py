"""``telltale lab chaos`` and ``telltale lab soak``: delivery under faults, and over time.

In: the size of a run. Out: an account as a table or one JSON object, and a plot. Exit code 1 when an
upload was lost, an effect was had twice, an answer came under an id that follows from no upload, or a
repeat or a dead letter was not byte for byte what it repeats.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from telltale.commands.chaos_tables import show_chaos, show_soak
from telltale.errors import UsageError
from telltale.settings import load_settings

if TYPE_CHECKING:
    from telltale.lab.chaos_ground import Ground, Kind

FILE = click.Path(path_type=Path, dir_okay=False)
STAGES = click.Choice(("standin", "real"))
# what two cores keep up with; a run is about faults and time, not about speed
RATES = {"standin": 100.0, "real": 1.0}

events = click.option(
    "--events", type=click.IntRange(1), default=5000, show_default=True, help="Uploads to send."
)
stages = click.option(
    "--stages",
    type=STAGES,
    default="standin",
    show_default=True,
    help="One stand-in stage with a fixed delay (delivery alone), or all seven with their models.",
)
workers = click.option(
    "--workers", type=click.IntRange(1), default=3, show_default=True, help="Worker processes."
)
rate = click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Uploads a second; 100 to the stand-in, 1 to the real stages unless given.",
)
delay = click.option(
    "--delay-ms",
    type=click.FloatRange(0),
    default=20.0,
    show_default=True,
    help="What the stand-in takes for a batch of at most four.",
)
partitions = click.option(
    "--partitions", type=click.IntRange(1), default=6, show_default=True, help="Of every topic."
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object, and nothing else on standard output."
)


def _picture(name: str) -> Callable[[Any], Any]:
    return click.option(
        "--plot", "picture", type=FILE, default=Path(name), show_default=True,
        help="Where the timeline goes, a PNG.",
    )  # fmt: skip


@click.command()
@events
@click.option(
    "--faults", type=click.IntRange(0), default=20, show_default=True, help="Faults, one a round."
)
@click.option("--seed", default=7, show_default=True, help="Which faults come when.")
@click.option(
    "--faults-of",
    default="kill,term,stop,step",
    show_default=True,
    help="Groups of faults: kill, term, stop, step (a death at each step of delivery), step-term and "
    "step-stop (SIGTERM and SIGSTOP there), broker; add, one worker more, who ends after its round; and "
    "none, for what the same measure says when nobody is hurt.",
)
@click.option(
    "--stop-s", default=30.0, show_default=True, help="How long a SIGSTOP lasts, seconds."
)
@stages
@workers
@rate
@delay
@partitions
@_picture("chaos.png")
@as_json
def chaos(
    events: int, faults: int, seed: int, faults_of: str, stop_s: float, stages: Kind, workers: int,
    rate: float | None, delay_ms: float, partitions: int, picture: Path, as_json: bool,
) -> int:  # fmt: skip
    """Hurt workers while events flow; account for every event.

    \b
    Starts servers of its own, or uses those that the settings name, with topics
    of its own. A stock Kafka client sends, listens, and holds what came out
    against what went in. Prints the account and draws the timeline. Exit status
    1 if anything was lost, had an effect twice, or came under an id or in bytes
    that it should not have.
    """
    from telltale.lab.chaos import Chaos, Plan
    from telltale.lab.chaos_faults import kinds_of, sequence
    from telltale.lab.chaos_plot import plot
    from telltale.lab.chaos_rows import count_rows

    _check_writable(picture)
    kinds = kinds_of([g.strip() for g in faults_of.split(",")])
    plan = Plan(
        events, tuple(sequence(kinds, faults, seed)), seed, workers, rate or RATES[stages],
        delay_ms / 1000, stop_s,
    )  # fmt: skip
    with _ground(stages, partitions) as place, _progress(events, faults) as progress:
        if "broker" in kinds and place.supervisor_pid is None:
            raise UsageError("--faults-of broker: the broker is not ours; unset TELLTALE_KAFKA_BOOTSTRAP")  # fmt: skip
        run = Chaos(place, plan, progress)
        real = stages == "real"
        outcome = run.run(lambda: count_rows(place.settings, place.run, events) if real else {})
    if as_json:
        click.echo(json.dumps({"stages": _what(stages), **outcome.public()}))
    else:
        show_chaos(outcome, _what(stages))
    plot(outcome, picture)
    click.echo(f"timeline: {picture}", err=as_json)
    return _tidy(place, outcome.clean)


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True,
    help="How long to send.",
)  # fmt: skip
@click.option(
    "--every-s", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True,
    help="Seconds between looks at memory and lag.",
)  # fmt: skip
@stages
@workers
@rate
@delay
@partitions
@_picture("soak.png")
@as_json
def soak(
    minutes: float, every_s: float, stages: Kind, workers: int, rate: float | None,
    delay_ms: float, partitions: int, picture: Path, as_json: bool,
) -> int:  # fmt: skip
    """Send at a steady rate; report memory, lag and latency, and draw them.

    The slope of memory is in megabytes an hour, least squares after the warm-up, with a 95% interval
    that allows for neighbouring samples being alike.
    """
    from telltale.lab.soak import Soak
    from telltale.lab.soak_plot import plot

    _check_writable(picture)
    pace = rate or RATES[stages]
    total = max(1, int(minutes * 60 * pace))
    with _ground(stages, partitions) as place, _progress(total, 0) as progress:
        run = Soak(place, minutes * 60, pace, workers, delay_ms / 1000, every_s, progress)
        soaked = run.run()
    if as_json:
        click.echo(json.dumps({"stages": _what(stages), **soaked.public()}))
    else:
        show_soak(soaked, _what(stages))
    plot(soaked, picture)
    click.echo(f"timeline: {picture}", err=as_json)
    return _tidy(place, soaked.audit.clean)


def _check_writable(picture: Path) -> None:
    """A run may take hours: what cannot be kept in the end is said before it."""
    there = picture if picture.exists() else picture.parent
    if not os.access(there, os.W_OK):
        raise UsageError(f"--plot {picture}: it cannot be written there; name another file")


def _what(stages: Kind) -> str:
    alone = "a stand-in stage with a fixed delay: delivery alone"
    return alone if stages == "standin" else "all seven stages with their models"


@contextmanager
def _ground(stages: Kind, partitions: int) -> Iterator[Ground]:
    """Servers and a folder for a run."""
    from telltale.lab.chaos_ground import ground, scratch

    # ended by SIGTERM, the workers and servers must end too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Console(stderr=True, highlight=False)
    settings = load_settings()
    folder = scratch(settings.home)
    screen.print(f"under test: {_what(stages)}; logs in {folder}")
    with ground(settings, folder, stages, partitions, screen.print) as made:
        yield made


def _tidy(place: Ground, clean: bool) -> int:
    """The exit status; the logs stay where there is something to look for in them."""
    if clean:
        shutil.rmtree(place.folder, ignore_errors=True)
        return 0
    click.echo(f"logs of workers and servers: {place.folder}", err=True)
    return 1


@contextmanager
def _progress(total: int, faults: int) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as shown:
        bars = [shown.add_task(name, total=total) for name in ("sent", "answered")]
        struck = shown.add_task("faults", total=faults, visible=faults > 0)
        told = 0

        def update(sent: int, answered: int, hurt: int) -> None:
            nonlocal told
            if hurt > told and not shown.console.is_terminal:  # where bars cannot move
                told = hurt
                shown.console.print(f"fault {hurt} of {faults}; {sent} sent, {answered} answered")
            for task, done in zip((*bars, struck), (sent, answered, hurt), strict=True):
                shown.update(task, completed=done)

        yield update
