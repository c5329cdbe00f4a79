"""``telltale cues``: load, list, search and lint the corpus of cues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from telltale.cues import Cue, Document, lint, load_cues, load_documents
from telltale.regions import CUE_REGIONS
from telltale.settings import load_settings

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
def cues() -> None:
    """What gives a manipulation away, and the sources that say so."""


@cues.command()
def load() -> None:
    """Load the corpus into the database under the encoder in use; again, it changes nothing.

    Known examples made for this encoder ('telltale lab exemplars') are loaded with it.
    """
    from telltale.app import Wiring
    from telltale.commands.preparing import load_exemplars

    wiring = Wiring(load_settings())
    changed = wiring.load_cues()
    state = "loaded" if changed else "already loaded"
    click.echo(f"{len(wiring.cues)} cues {state} for encoder {wiring.encoder.revision}")
    if notice := load_exemplars(wiring):
        click.echo(notice, err=True)


@cues.command("list")
@click.option("--region", type=click.Choice(CUE_REGIONS), help="Only cues of this region.")
@click.option(
    "--json", "as_json", is_flag=True, help="All cues as one JSON list, with their sources."
)
def list_(region: str | None, as_json: bool) -> None:
    """List the cues with what they say and who verifies them."""
    settings = load_settings()
    found = [c for c in load_cues(settings.cues_dir) if region in (None, c.region)]
    if as_json:
        documents = load_documents(settings.cues_dir)
        click.echo(json.dumps([_listed(c, documents) for c in found], ensure_ascii=False))
        return
    table = Table("cue", "sign of manipulation", "untouched", "verified by", "sources")
    for cue in found:
        table.add_row(*_row(cue, settings.language))
    Console().print(table)


@cues.command()
@click.argument("text")
@click.option("-n", "count", default=5, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def search(text: str, count: int, as_json: bool) -> None:
    """Find the cues nearest to TEXT in the encoder's space, in English or Korean."""
    from telltale.app import Wiring

    wiring = Wiring(load_settings())
    vector = wiring.encoder.encode_texts([text])[0]
    wiring.cue_store.revision(wiring.encoder.revision)  # names what to do when nothing is loaded
    matches = wiring.cue_store.search(wiring.encoder.revision, vector, count)
    wiring.cue_store.close()
    if as_json:
        rows = [{"cue_id": m.cue_id, "side": m.side, "similarity": m.similarity} for m in matches]
        click.echo(json.dumps(rows))
        return
    table = Table("similarity", "cue", "side", "sentence")
    for m in matches:
        sentence = getattr(getattr(wiring.cues[m.cue_id], m.side), wiring.given.language)
        table.add_row(f"{m.similarity:.3f}", m.cue_id, m.side, sentence)
    Console().print(table)


@cues.command("lint")
@click.argument("folder", type=FOLDER, required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON list of faults.")
def lint_(folder: Path | None, as_json: bool) -> int:
    """Check a corpus: ids, balance, language, duplicates, negations, sources. Exit code 1 on faults."""
    where = folder or load_settings().cues_dir
    found = load_cues(where)
    faults = lint(found, load_documents(where))
    if as_json:
        click.echo(json.dumps(faults, ensure_ascii=False))
    else:
        click.echo("\n".join(faults) or f"{len(found)} cues, nothing to mend")
    return 1 if faults else 0


def _listed(cue: Cue, documents: Mapping[str, Document]) -> dict[str, Any]:
    """The cue with the documents that its ids stand for; one that is in no file is left out."""
    sources = [documents[d].model_dump(mode="json") for d in cue.documents if d in documents]
    return cue.model_dump(mode="json") | {"sources": sources}


def _row(cue: Cue, language: str) -> tuple[str, ...]:
    return (
        cue.cue_id, getattr(cue.artifact, language), getattr(cue.natural, language),
        cue.measurement or cue.verifier, ", ".join(cue.documents),
    )  # fmt: skip
