"""``telltale up``, ``down`` and ``doctor``: the embedded stack, and whether all is well."""

from __future__ import annotations

import contextlib
import json

import click
from rich.console import Console

from telltale.settings import load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the endpoints as one JSON object.")
def up(as_json: bool) -> None:
    """Start Kafka, PostgreSQL with pgvector and Valkey on loopback; a second call finds the first.

    Servers named in the settings are used instead. Then the topics are created, the migrations applied and the cues loaded, where that is not
    done yet, so that workers can start.
    """
    from telltale.app import Wiring
    from telltale.commands.preparing import prepare
    from telltale.stack import up as start

    say = Console(stderr=True, highlight=False).print
    settings = load_settings()
    if not all((settings.kafka_bootstrap, settings.postgres_dsn, settings.redis_url)):
        start(settings.home, say)
    wiring = Wiring(settings)
    prepare(wiring, say)
    names = ("kafka_bootstrap", "postgres_dsn", "redis_url")
    found = {name: getattr(wiring.settings, name) for name in names}
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, where in found.items():
        click.echo(f"{name:<16} {where}")
    click.echo("next: 'telltale worker --all', then 'telltale submit FILE --wait'")


@click.command()
def down() -> None:
    """Stop the embedded stack and workers left running. Data stay under TELLTALE_HOME."""
    from telltale.commands.workers import stop_kept_workers
    from telltale.stack import down as stop

    settings = load_settings()
    if workers := stop_kept_workers(settings.home):
        click.echo(f"stopped {workers} worker" + ("s" if workers > 1 else ""))
    stop(settings.home)
    click.echo(f"stopped; data stay in {settings.home}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array of checks.")
def doctor(as_json: bool) -> int:
    """Check every dependency. Exit code 1 when one is not well."""
    from telltale.app import connected
    from telltale.errors import UsageError
    from telltale.stack.doctor import check

    settings = load_settings()
    with contextlib.suppress(UsageError):  # not up: the checks say so, one by one
        settings = connected(settings)
    checks = check(settings.home, settings)
    if as_json:
        click.echo(json.dumps([c.model_dump() for c in checks]))
    else:
        out = Console(highlight=False)
        for c in checks:
            mark = "[green]ok  [/]" if c.ok else "[red]bad [/]"
            out.print(
                f"{mark} {c.name}: {c.says}" + ("" if c.ok or not c.do else f" → {c.do}"),
                soft_wrap=True,
            )
    return 0 if all(c.ok for c in checks) else 1
