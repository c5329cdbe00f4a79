"""``telltale dead``: look at events that could not be finished, send them again, or set them aside.

In: filters or ids. Out: tables or JSON. ``redrive`` and ``drop`` only say what they would do until
they are told ``--yes``.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from telltale.delivery import deadletter
from telltale.delivery.deadletters import Handled, Letter, Wanted, find_letters, handle
from telltale.errors import UsageError
from telltale.settings import Settings, load_settings

TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])
SHOWN = 50


def _filters(command: Any) -> Any:
    for option in (
        click.option("--until", type=TIME, help="Died before this time (UTC unless it says)."),
        click.option("--since", type=TIME, help="Died at or after this time."),
        click.option("--topic", help="Died in this topic, e.g. images.uploaded."),
        click.option("--error", help="Class of the error, e.g. EventUnreadable."),
        click.option("--stage", help="Given up by this stage."),
    ):
        command = option(command)
    return command


@click.group()
def dead() -> None:
    """List, show, redrive and drop dead letters."""


@dead.command("list")
@_filters
@click.option("--handled", is_flag=True, help="Also those already redriven or dropped.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(handled: bool, as_json: bool, **filters: Any) -> None:
    """List dead letters, oldest first."""
    letters = find_letters(_settings(), _wanted(handled=handled, **filters))
    if as_json:
        click.echo(json.dumps([letter.public() for letter in letters]))
        return
    table = Table(highlight=False)
    for column in ("id", "stage", "error", "message", "died", "key", "handled"):
        table.add_column(column, overflow="fold" if column == "id" else "ellipsis", no_wrap=False)
    for letter in letters[:SHOWN]:
        public = letter.public()
        table.add_row(
            letter.letter_id, letter.stage, letter.error, str(public["message"])[:80],
            f"{letter.died_at:%Y-%m-%d %H:%M:%S}", str(public["key"]), letter.handled,
        )  # fmt: skip
    console = Console()
    console.print(table)
    causes = Counter((letter.stage, letter.error) for letter in letters)
    for (stage, error), count in causes.most_common():
        console.print(f"{count:>6}  {stage}  {error}", highlight=False)
    if len(letters) > SHOWN:
        console.print(f"the first {SHOWN} of {len(letters)} are shown; --json has all")


@dead.command()
@click.argument("letter_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; value and headers in base64.")
def show(letter_id: str, as_json: bool) -> None:
    """Show one dead letter: the original as it came, and why it died."""
    (letter,) = find_letters(_settings(), Wanted(frozenset({letter_id}), handled=True))
    stack = letter.read.header(deadletter.STACKTRACE)
    if as_json:
        click.echo(json.dumps({**letter.public(), "stacktrace": stack, **_original(letter)}))
        return
    for name, value in letter.public().items():
        click.echo(f"{name:<13} {value}")
    click.echo("headers")
    for name, raw in letter.original_headers:
        click.echo(f"  {name}: {raw.decode(errors='backslashreplace')}")
    click.echo("value")
    value = letter.read.value
    click.echo("  (none)" if value is None else "  " + value.decode(errors="backslashreplace"))
    click.echo(f"stack trace\n{stack}")


@dead.command()
@click.argument("letter_ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that the filters leave.")
@_filters
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="At most so many a second.")
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
def redrive(
    letter_ids: tuple[str, ...], every: bool, rate: float | None, yes: bool, **filters: Any
) -> None:
    """Send dead letters again to the topic they came from, byte for byte."""
    _act("redriven", letter_ids, every, rate, yes, filters)


@dead.command()
@click.argument("letter_ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that the filters leave.")
@_filters
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
def drop(letter_ids: tuple[str, ...], every: bool, yes: bool, **filters: Any) -> None:
    """Set dead letters aside; they stay in their topic until its retention ends."""
    _act("dropped", letter_ids, every, None, yes, filters)


def _act(
    how: Handled,
    ids: tuple[str, ...],
    every: bool,
    rate: float | None,
    yes: bool,
    filters: dict[str, Any],
) -> None:
    if every == bool(ids):
        raise UsageError("name dead letters by id, or say --all (with filters, if you like)")
    settings = _settings()
    letters = find_letters(settings, _wanted(ids=frozenset(ids), handled=bool(ids), **filters))
    if not yes:
        for (topic, error), count in Counter((x.topic, x.error) for x in letters).items():
            click.echo(f"{count} of {topic} that died of {error} would be {how}")
        took = f" in about {len(letters) / rate:.0f} s" if rate else ""
        click.echo(f"{len(letters)} in all{took}; say --yes to do it")
        return
    with Progress(transient=True) as progress:
        bar = progress.add_task(how, total=len(letters))
        done = handle(settings, letters, how, rate, lambda: progress.advance(bar))
    click.echo(f"{done} {how}")


def _wanted(**filters: Any) -> Wanted:
    for name in ("since", "until"):
        when = filters.get(name)
        if isinstance(when, datetime) and when.tzinfo is None:
            filters[name] = when.replace(tzinfo=UTC)
    return Wanted(**filters)


def _original(letter: Letter) -> dict[str, object]:
    def text(raw: bytes | None) -> str | None:
        return None if raw is None else base64.b64encode(raw).decode()

    headers = [[name, text(value)] for name, value in letter.original_headers]
    return {"headers_base64": headers, "value_base64": text(letter.read.value)}


def _settings() -> Settings:
    from telltale.app import connected

    return connected(load_settings())
