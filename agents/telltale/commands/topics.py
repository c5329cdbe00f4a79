"""``telltale topics``: make the topics, list them with the lag of every stage.

In: settings. Out: a table or JSON. Raises ``DependencyAway`` when no broker answers.
"""

from __future__ import annotations

import asyncio
import json

import click
from rich.console import Console
from rich.table import Table

from telltale.delivery.topics_admin import TopicState, create_topics, list_topics
from telltale.settings import Settings, load_settings
from telltale.topics import DAY_MS

# who reads what: which stages' lag a topic is listed with
READERS: dict[str, tuple[str, ...]] = {
    "images.uploaded": ("intake",),
    "images.admitted": ("detect",),
    "regions.detected": ("retrieve",),
    "cues.retrieved": ("judge",),
    "judgments.made": ("verify",),
    "verdicts.issued": ("explain", "record"),
    "explanations.ready": ("record",),
}


@click.group()
def topics() -> None:
    """Create and list topics, with the lag of each stage."""


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(as_json: bool) -> None:
    """Create the topics that are missing; leave the others as they are."""
    made = asyncio.run(create_topics(_settings()))
    if as_json:
        click.echo(json.dumps({"created": made}))
    else:
        click.echo("\n".join(f"created {name}" for name in made) or "all topics are there")


@topics.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List our topics: partitions, retention, clean-up, events kept, lag of each stage."""
    states = asyncio.run(list_topics(_settings(), READERS))
    if as_json:
        click.echo(json.dumps([state.public() for state in states]))
        return
    table = Table(highlight=False)
    for column in ("topic", "clean-up", "lag"):
        table.add_column(column)
    for column in ("partitions", "kept", "events"):
        table.add_column(column, justify="right")
    for state in states:
        table.add_row(
            state.name, state.cleanup or "", _lag(state), str(state.partitions), _kept(state),
            str(state.events),
        )  # fmt: skip
    Console().print(table)


def _lag(state: TopicState) -> str:
    return ", ".join(f"{stage} {lag}" for stage, lag in state.lag.items())


def _kept(state: TopicState) -> str:
    ms = state.retention_ms
    return "" if ms is None else "for ever" if ms < 0 else f"{ms / DAY_MS:g} d"


def _settings() -> Settings:
    from telltale.app import connected

    return connected(load_settings(), "kafka_bootstrap")
