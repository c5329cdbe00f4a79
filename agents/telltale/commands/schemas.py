"""``telltale schemas``: write the published JSON Schemas and the AsyncAPI document."""

from __future__ import annotations

from pathlib import Path

import click

from telltale.contracts import files, write


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("schemas"))
@click.option(
    "--check", is_flag=True, help="Write nothing; exit code 1 when a file is not up to date."
)
def schemas(folder: Path, check: bool) -> int:
    """Write every event's JSON Schema and asyncapi.yaml into FOLDER."""
    if not check:
        changed = write(folder)
        click.echo("\n".join(f"wrote {folder / name}" for name in changed) or "all up to date")
        return 0
    stale = [
        n
        for n, text in files().items()
        if not (folder / n).exists() or (folder / n).read_text() != text
    ]
    for name in stale:
        click.echo(f"{folder / name} is not up to date; run 'telltale schemas'")
    return 1 if stale else 0
