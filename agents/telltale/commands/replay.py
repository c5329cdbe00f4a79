"""``telltale replay``: run past events once more, beside the live ones, compare, and make them live.

In: a topic and which of its events. Out: shadow topics holding them, and the command that runs the
stages over those; then, of the same replay, what its verdicts change (``--diff``), and these on the
live topics (``--promote``). Says what it would do until told ``--yes``. The same command again goes
on where an interrupted one stopped.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from telltale.delivery.comparing import compare_replay
from telltale.delivery.promoting import Promoted, Promotion
from telltale.delivery.replaying import Counts, Replay, Selection, Target
from telltale.delivery.scanning import Stretch
from telltale.delivery.topics_admin import create_topics
from telltale.errors import UsageError
from telltale.settings import Settings, load_settings
from telltale.topics import EXPLAINED, in_shadow, shadow_prefix

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


@dataclass(frozen=True)
class _Asked:
    """A replay as it was asked for on the command line."""

    settings: Settings
    selection: Selection
    target: Target
    live: bool
    yes: bool
    as_json: bool


@click.command()
@click.argument("topic")
@click.option("--since", type=TIME, help="Events that arrived at or after this time (UTC).")
@click.option("--until", type=TIME, help="Events that arrived before this time.")
@click.option(
    "--first",
    multiple=True,
    metavar="P:OFFSET",
    help="From this offset of a partition on; may be repeated. Partitions that neither --first nor "
    "--last names are then left out.",
)
@click.option(
    "--last",
    multiple=True,
    metavar="P:OFFSET",
    help="Up to this offset of a partition, itself included; may be repeated, as --first.",
)
@click.option("--image", "images", multiple=True, help="Only this image id; may be repeated.")
@click.option(
    "--images-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only the image ids in this file, one a line.",
)
@click.option("--replay-id", help="Name of the replay; by default it follows from the selection.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="At most so many a second.")
@click.option("--live", is_flag=True, help="Onto the live topics instead of shadow topics.")
@click.option("--diff", is_flag=True, help="Compare its verdicts with the live ones; only reads.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="With --diff: also draw it, as a PNG.",
)
@click.option("--promote", is_flag=True, help="Make its verdicts and explanations the live ones.")
@click.option("--yes", is_flag=True, help="Do it; without this, only count.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(topic: str, diff: bool, plot: Path | None, promote: bool, **given: Any) -> None:
    """Run past events of TOPIC again, e.g. cues.retrieved after a change of the judge.

    \b
    1. telltale replay cues.retrieved --since 2026-01-01          count
    2. the same with --yes                                        send to shadow topics
    3. the worker command that it prints                          judge them anew
    4. the same selection with --diff                             compare
    5. the same selection with --promote, then --promote --yes    make them live

    \b
    explanations.ready has only record behind it: --live has explanations recorded
    once more, and verdicts.issued, replayed, has them drawn anew.
    """
    if diff and (promote or given["yes"]):
        raise UsageError("--diff only reads: leave --promote and --yes to a call of their own")
    if plot and not diff:
        raise UsageError("--plot draws a comparison: say --diff too")
    if topic == EXPLAINED.name and (diff or promote or not given["live"]):
        raise UsageError(
            f"{topic}: nothing but record reads it, so that in shadow topics there is nothing to run,"
            " compare or promote; say --live to have explanations recorded once more, or replay"
            " verdicts.issued to have them drawn anew"
        )
    asked = _asked(topic, given)
    if diff:
        _compare(asked, plot)
    elif promote:
        _promote(asked)
    else:
        _replay(asked)


def _asked(topic: str, given: dict[str, Any]) -> _Asked:
    from telltale.app import connected

    settings = connected(load_settings())
    file = given["images_file"]
    named = [*given["images"], *(_lines(file) if file else ())]
    if file and not named:
        raise UsageError(f"--images-file {file}: there is no image id in it")
    stretch = Stretch(
        _utc(given["since"]), _utc(given["until"]),
        _offsets("--first", given["first"]), _offsets("--last", given["last"]),
    )  # fmt: skip
    selection = Selection(topic, stretch, frozenset(named))
    name = given["replay_id"] or selection.replay_id
    if in_shadow(settings.topic_prefix, name):
        raise UsageError(
            f"--replay-id {name}: TELLTALE_TOPIC_PREFIX ends with it, which is how a replay's own"
            " topics are told; choose another name, or unset the prefix of a shadow"
        )
    live = given["live"]
    prefix = settings.topic_prefix if live else shadow_prefix(settings.topic_prefix, name)
    target = Target(name, prefix, given["rate"])
    return _Asked(settings, selection, target, live, given["yes"], given["as_json"])


def _replay(asked: _Asked) -> None:
    replay = Replay(asked.settings, asked.selection)
    try:
        with _progress("replay", replay.scan.total, asked.as_json) as advance:
            if not asked.yes:
                counts = replay.count(asked.target, advance)
            else:
                if not asked.live:
                    prefix = {"topic_prefix": asked.target.prefix}
                    asyncio.run(create_topics(asked.settings.model_copy(update=prefix)))
                counts = replay.send(asked.target, advance)
    finally:
        replay.scan.close()
    if asked.as_json:
        named = {"replay_id": asked.target.replay_id, "prefix": asked.target.prefix}
        expected = {"expected_s": counts.expected_s(asked.target.rate)}
        click.echo(json.dumps({**named, "sent": asked.yes, **asdict(counts), **expected}))
    else:
        _say(asked, counts)


def _compare(asked: _Asked, plot: Path | None) -> None:
    from telltale.commands.comparison import draw, tables

    target = asked.target
    topic = asked.selection.topic
    found = compare_replay(asked.settings, topic, target.replay_id, target.prefix)
    if plot:
        draw(found, plot)
    if asked.as_json:
        click.echo(json.dumps(found.public()))
    else:
        tables(found)


def _promote(asked: _Asked) -> None:
    if asked.live:
        raise UsageError("--promote: a --live replay is on the live topics already")
    target = asked.target
    topic = asked.selection.topic
    promotion = Promotion(asked.settings, topic, target.replay_id, target.prefix)
    with _progress("promote", promotion.total, asked.as_json) as advance:
        done = promotion.send(target.rate, advance) if asked.yes else promotion.count()
    if asked.as_json:
        named = {"replay_id": target.replay_id, "sent": asked.yes}
        click.echo(json.dumps({**named, **asdict(done)}))
    else:
        _say_promoted(done, asked)


@contextmanager
def _progress(what: str, total: int, quiet: bool) -> Iterator[Callable[[], object]]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=quiet) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda: progress.advance(bar)


def _say(asked: _Asked, counts: Counts) -> None:
    topic, target, yes = asked.selection.topic, asked.target, asked.yes
    what = "sent" if yes else "would be sent"
    click.echo(
        f"replay {target.replay_id}: {counts.events} events of {topic} {what} to {target.prefix}{topic}"
    )
    click.echo(f"{counts.bytes / 1e6:.1f} MB{'' if yes else _expected(counts, target.rate)}")
    if counts.already:
        click.echo(f"{counts.already} were there already; a new --replay-id would begin afresh")
    if counts.unreadable:
        click.echo(f"{counts.unreadable} cannot be read and are left out")
    if not yes:
        click.echo("say --yes to do it")
    elif not asked.live:
        stages = " ".join(stages_after(topic))
        prefix = shlex.quote(target.prefix)
        click.echo(f"run them:  TELLTALE_TOPIC_PREFIX={prefix} telltale worker {stages}")
        click.echo(f"compare:   telltale replay {topic} --replay-id {target.replay_id} --diff")


def _expected(counts: Counts, rate: float | None) -> str:
    seconds = counts.expected_s(rate)
    if seconds is None:
        return "; how long it takes is unknown: say a --rate"
    if rate:
        return f", about {seconds:.0f} s at that rate"
    return f", about {seconds:.0f} s of work at {counts.events / seconds:.1f} a second, as they once arrived"


def _say_promoted(done: Promoted, asked: _Asked) -> None:
    what = "are live now" if asked.yes else "would be made live"
    click.echo(
        f"replay {asked.target.replay_id}: {done.verdicts} verdicts and {done.explanations}"
        f" explanations {what}"
    )
    for count, text in (
        (done.already, "verdicts were made live before"),
        (done.superseded, "verdicts are left out: their image was uploaded again since"),
        (done.undrawn, "verdicts have no explanation yet: the live explain stage draws it"),
        (done.unanswered, "replayed images have no verdict yet"),
    ):
        if count:
            click.echo(f"{count} {text}")
    if not asked.yes:
        rate = asked.target.rate
        took = f" in about {(done.verdicts + done.explanations) / rate:.0f} s" if rate else ""
        click.echo(f"say --yes to do it{took}")


def stages_after(topic: str) -> list[str]:
    """The stages that a topic's events run through in a shadow; none after explanations.ready."""
    names = [name for name, _ in _FOLLOWS]
    return [stage for _, stage in _FOLLOWS[names.index(topic) :]] if topic in names else []


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text().splitlines() if line.strip()]


def _utc(when: datetime | None) -> datetime | None:
    return when.replace(tzinfo=UTC) if when and when.tzinfo is None else when


def _offsets(option: str, given: tuple[str, ...]) -> dict[int, int]:
    try:
        pairs = [
            (int(partition), int(offset)) for partition, offset in (t.split(":") for t in given)
        ]
    except ValueError as error:
        said = ", ".join(given)
        raise UsageError(f"{option} {said}: write PARTITION:OFFSET, e.g. 0:1200") from error
    offsets = dict(pairs)
    if len(offsets) < len(pairs):
        raise UsageError(f"{option} {', '.join(given)}: a partition has one such offset")
    return offsets
