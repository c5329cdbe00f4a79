"""``telltale settings``: every option with its variable, its meaning and its value now."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from telltale.settings import Settings, load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, secrets masked.")
def settings(as_json: bool) -> None:
    """Show every option. Set one with its environment variable."""
    now = load_settings()
    values = json.loads(now.model_dump_json())
    if as_json:
        click.echo(json.dumps(values))
        return
    table = Table("variable", "value now", "meaning", show_lines=False)
    for name, field in Settings.model_fields.items():
        table.add_row(f"TELLTALE_{name.upper()}", str(values[name]), field.description or "")
    Console().print(table)
