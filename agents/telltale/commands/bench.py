"""``telltale bench``: how fast the stream is, beside what it could be at most.

In: the servers of the settings, or the embedded stack started for it. Out: a table, or one JSON object;
``stream.json`` and ``stream.png`` in the folder given. Uses topics, a database and pictures of its own,
which are gone afterwards.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from telltale.errors import UsageError
from telltale.settings import Settings, load_settings


@click.group()
def bench() -> None:
    """Measure speed: throughput, latency and the plumbing alone."""


@bench.command()
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of pictures; the demo's photographs unless given.",
)
@click.option(
    "--pictures",
    default=48,
    show_default=True,
    type=click.IntRange(0),
    help="Pictures a run through the real models; 0 measures the plumbing only.",
)
@click.option(
    "--events",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    help="Events a run through empty stages.",
)
@click.option(
    "--low",
    default=200,
    show_default=True,
    type=click.IntRange(1),
    help="Events a run sent one after another, for latency.",
)
@click.option(
    "--runs",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Runs of each; medians are shown.",
)
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Processes of each: of all seven stages, of the bare loop, of the plain app.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench"),
    show_default=True,
    help="Where stream.json and stream.png go.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stream(
    images: Path | None, pictures: int, events: int, low: int, runs: int, workers: int, out: Path, as_json: bool
) -> None:  # fmt: skip
    """The whole stream beside its models alone and beside a plain Faust app.

    \b
    Images a second with the models of the profile: the stream, the same model calls in a
    bare loop (the limit), the stages called directly, and a plain Faust app that takes one
    event at a time. Latency added at low load, and events a second, with empty models:
    the seven stages' topics, events, batches and delivery, and answers that are there at once;
    the same through the plain app, in as many processes and until all is recorded, too.
    Each of the processes computes with its share of the cores, unless TELLTALE_THREADS says
    otherwise.
    """
    from telltale.app import connected
    from telltale.lab.stream_measure import measure
    from telltale.lab.stream_plan import Plan
    from telltale.lab.stream_report import plot, table

    say = Console(stderr=True, highlight=False).print
    settings = load_settings()
    photographs = _photographs(images) if pictures else []
    # a plain SIGTERM would leave the workers running
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as undo:
        _servers(undo, settings)
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="telltale-bench-")))
        plan = Plan(runs, pictures, events, low, workers)
        figures = measure(connected(settings), photographs, plan, folder, say)
    out.mkdir(parents=True, exist_ok=True)
    (out / "stream.json").write_text(json.dumps(figures, indent=1) + "\n")
    plot(figures, out / "stream.png")
    if as_json:
        click.echo(json.dumps(figures))
        return
    Console(highlight=False).print(table(figures))
    click.echo(f"figures  {out / 'stream.json'}\nplot     {out / 'stream.png'}")


def _servers(undo: ExitStack, settings: Settings) -> None:
    """The embedded stack, unless every server is named; stopped again if it did not run before."""
    from telltale.stack import running

    if not all((settings.kafka_bootstrap, settings.postgres_dsn, settings.redis_url)):
        undo.enter_context(running(settings.home, Console(stderr=True, highlight=False).print))


def _photographs(folder: Path | None) -> list[bytes]:
    """Bytes of the pictures of a folder, or of the demo's photographs."""
    if folder is None:
        from io import BytesIO

        from PIL import Image

        from telltale.commands.demo_pictures import photographs

        found = []
        for pixels in photographs().values():
            kept = BytesIO()
            Image.fromarray(pixels).save(kept, "JPEG", quality=92)
            found.append(kept.getvalue())
        return found
    from telltale.commands.uploading import sources

    found = [Path(name).read_bytes() for name in sources([str(folder)])]
    if not found:
        raise UsageError(f"--images {folder}: no pictures there")
    return found
