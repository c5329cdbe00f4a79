"""``telltale watch``: verdicts as they are issued, until interrupted."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console

from telltale import topics
from telltale.app import connected
from telltale.commands.listening import Listener
from telltale.commands.verdicts import as_json, line
from telltale.events import VerdictIssued
from telltale.settings import load_settings


@click.command()
@click.option("--since", "minutes", type=float, help="Also those of the last so many minutes.")
@click.option(
    "--only",
    type=click.Choice(["manipulated", "authentic", "inconclusive", "rejected"]),
    help="Only verdicts of this kind.",
)
@click.option("--count", type=int, help="Stop after so many.")
@click.option("--json", "json_lines", is_flag=True, help="One JSON object a line.")
def watch(minutes: float | None, only: str | None, count: int | None, json_lines: bool) -> None:
    """Show live verdicts. Ctrl-C ends it; nobody is disturbed."""
    since = None if minutes is None else datetime.now(UTC) - timedelta(minutes=minutes)
    listener = Listener(connected(load_settings(), "kafka_bootstrap"), topics.ISSUED, since=since)
    out = Console(highlight=False)
    shown = 0
    try:
        for heard in listener:
            event = heard.event
            if not isinstance(event, VerdictIssued) or only not in (None, event.verdict.verdict):
                continue
            if json_lines:
                click.echo(json.dumps(as_json(None, event), ensure_ascii=False))
            else:
                out.print(line(event.image_id, event, heard.latency_ms))
            shown += 1
            if shown == count:
                return
    finally:
        listener.close()
