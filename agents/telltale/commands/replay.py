"""``telltale replay``: run past events once more, beside the live ones.

In: a topic and which of its events. Out: shadow topics holding them, and the command that runs the
stages over those. Says what it would do until told ``--yes``. The same command again goes on where
an interrupted one stopped.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from telltale.delivery.replaying import Counts, Replay, Selection, Target, shadow_prefix
from telltale.delivery.scanning import Stretch
from telltale.delivery.topics_admin import create_topics
from telltale.errors import UsageError
from telltale.settings import Settings, load_settings

TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])
# which stages a topic's events run through, record left out: a shadow's verdicts stay in its topics
_FOLLOWS = (
    ("images.uploaded", "intake"),
    ("images.admitted", "detect"),
    ("regions.detected", "retrieve"),
    ("cues.retrieved", "judge"),
    ("judgments.made", "verify"),
    ("verdicts.issued", "explain"),
)


@click.command()
@click.argument("topic")
@click.option("--since", type=TIME, help="Events that arrived at or after this time (UTC).")
@click.option("--until", type=TIME, help="Events that arrived before this time.")
@click.option("--first", multiple=True, metavar="P:OFFSET", help="First offset of a partition.")
@click.option("--last", multiple=True, metavar="P:OFFSET", help="Last offset of a partition.")
@click.option("--image", "images", multiple=True, help="Only this image id; may be repeated.")
@click.option(
    "--images-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only the image ids in this file, one a line.",
)
@click.option("--replay-id", help="Name of the replay; by default it follows from the selection.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="At most so many a second.")
@click.option("--live", is_flag=True, help="Onto the live topics instead of shadow topics.")
@click.option("--yes", is_flag=True, help="Do it; without this, only count.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(
    topic: str,
    since: datetime | None,
    until: datetime | None,
    first: tuple[str, ...],
    last: tuple[str, ...],
    images: tuple[str, ...],
    images_file: Path | None,
    replay_id: str | None,
    rate: float | None,
    live: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Run past events of TOPIC again, e.g. cues.retrieved after a change of the judge."""
    from telltale.app import connected

    settings = connected(load_settings())
    named = [*images, *(images_file.read_text().split() if images_file else ())]
    stretch = Stretch(_utc(since), _utc(until), _offsets(first), _offsets(last))
    selection = Selection(topic, stretch, frozenset(named))
    name = replay_id or selection.replay_id
    prefix = settings.topic_prefix if live else shadow_prefix(settings, name)
    replay = Replay(settings, selection)
    counts = _run(settings, replay, Target(name, prefix, rate), live, yes, quiet=as_json)
    if as_json:
        click.echo(json.dumps({"replay_id": name, "prefix": prefix, "sent": yes, **asdict(counts)}))
        return
    _say(topic, name, prefix, rate, live, yes, counts)


def _run(
    settings: Settings, replay: Replay, target: Target, live: bool, yes: bool, quiet: bool
) -> Counts:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=quiet) as progress:
        bar = progress.add_task("replay", total=replay.scan.total)
        try:
            if not yes:
                return replay.count(lambda: progress.advance(bar))
            if not live:
                shadow = settings.model_copy(update={"topic_prefix": target.prefix})
                asyncio.run(create_topics(shadow))
            return replay.send(target, lambda: progress.advance(bar))
        finally:
            replay.scan.close()


def _say(
    topic: str, name: str, prefix: str, rate: float | None, live: bool, yes: bool, counts: Counts
) -> None:
    took = f", about {counts.events / rate:.0f} s at that rate" if rate and not yes else ""
    what = "sent" if yes else "would be sent"
    click.echo(f"replay {name}: {counts.events} events of {topic} {what} to {prefix}{topic}")
    click.echo(f"{counts.bytes / 1e6:.1f} MB{took}")
    if counts.already:
        click.echo(f"{counts.already} were there already")
    if counts.unreadable:
        click.echo(f"{counts.unreadable} cannot be read and are left out")
    if not yes:
        click.echo("say --yes to do it")
    elif not live:
        stages = " ".join(stage for _, stage in _FOLLOWS[_place(topic) :])
        click.echo(f"run them:  TELLTALE_TOPIC_PREFIX={prefix} telltale worker {stages}")


def _place(topic: str) -> int:
    names = [name for name, _ in _FOLLOWS]
    return names.index(topic) if topic in names else len(names)


def _utc(when: datetime | None) -> datetime | None:
    return when.replace(tzinfo=UTC) if when and when.tzinfo is None else when


def _offsets(given: tuple[str, ...]) -> dict[int, int]:
    try:
        pairs = [text.split(":") for text in given]
        return {int(partition): int(offset) for partition, offset in pairs}
    except ValueError as error:
        raise UsageError(f"{', '.join(given)}: write PARTITION:OFFSET, e.g. 0:1200") from error
