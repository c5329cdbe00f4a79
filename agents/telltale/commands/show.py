"""``telltale show``: everything about one image, so that its verdict can be checked."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from telltale.app import Wiring
from telltale.commands.report import picture_keys
from telltale.commands.verdicts import claims_table, line, number
from telltale.cues import load_documents
from telltale.errors import UsageError
from telltale.settings import load_settings
from telltale.stores.verdicts import Recorded


@click.command()
@click.argument("image_id")
@click.option(
    "--open", "open_them", is_flag=True, help="Open the pictures with the system's viewer."
)
@click.option("--all", "every", is_flag=True, help="Also earlier verdicts and those of replays.")
@click.option("--json", "as_json", is_flag=True, help="The recorded events as one JSON array.")
def show(image_id: str, open_them: bool, every: bool, as_json: bool) -> None:
    """Show the verdict on IMAGE_ID with its claims, evidence, sources and pictures."""
    wiring = Wiring(load_settings())
    found = wiring.verdict_store.of_image(image_id)
    wiring.verdict_store.close()
    if not found:
        raise UsageError(
            f"no verdict on {image_id!r} is recorded; 'telltale watch' shows those that come"
        )
    chosen = found if every else found[:1]
    if as_json:
        click.echo(json.dumps([_as_json(r, wiring) for r in chosen], ensure_ascii=False))
        return
    out = Console(highlight=False)
    for recorded in chosen:
        _print(out, recorded, wiring)
        for path in _pictures(recorded, wiring) if open_them else ():
            click.launch(path)


def _print(out: Console, recorded: Recorded, wiring: Wiring) -> None:
    event = recorded.verdict
    verdict = event.verdict
    waited_ms = (recorded.recorded_at - event.uploaded_at).total_seconds() * 1000
    out.print(line(event.image_id, event, waited_ms))
    out.print(verdict.explanation)
    out.print(
        f"verdict {recorded.verdict_id}, action {verdict.action}, uploaded {event.uploaded_at:%Y-%m-%d %H:%M:%S %Z}"
    )
    if event.image is not None:
        image = event.image
        out.print(
            f"picture {image.width_px} x {image.height_px} px, {image.media_type}, sha256 {image.sha256}"
        )
    if verdict.claims:
        out.print(claims_table(event))
    for text in event.judgment.observations if event.judgment else ():
        out.print(f"observed: {text}")
    for text in event.judgment.counter_evidence if event.judgment else ():
        out.print(f"against it: {text}")
    _print_sources(out, recorded, wiring)
    _print_maps(out, recorded)
    for path in _pictures(recorded, wiring):
        out.print(f"picture {path}", soft_wrap=True)  # in one piece, to be copied
    made = verdict.provenance.model_dump(exclude={"stages"}, exclude_none=True)
    out.print("made by " + ", ".join(f"{k} {v}" for k, v in made.items()), style="dim")


def _print_sources(out: Console, recorded: Recorded, wiring: Wiring) -> None:
    documents = load_documents(wiring.given.cues_dir)
    named = dict.fromkeys(d for c in recorded.verdict.verdict.claims for d in c.documents)
    for doc_id in named:
        if (d := documents.get(doc_id)) is not None:
            out.print(f"source {d.authors} ({d.year}), {d.title}. {d.source}", style="dim")


def _print_maps(out: Console, recorded: Recorded) -> None:
    if recorded.explanation is None:
        out.print("the explanation is not drawn yet", style="dim")
        return
    table = Table("map of", "method", "says something", "rise, sd", "inside the region")
    for m in recorded.explanation.explanation.maps:
        table.add_row(
            m.claim_id, m.method, "yes" if m.informative else "no", number(m.scores.rise),
            f"{100 * m.scores.mass_in_region:.0f}%",
        )  # fmt: skip
    if table.row_count:
        out.print(table)


def _pictures(recorded: Recorded, wiring: Wiring) -> list[str]:
    if recorded.explanation is None:
        return []
    return [wiring.blobs.picture_path(k) for k in picture_keys(recorded.explanation)]


def _as_json(recorded: Recorded, wiring: Wiring) -> dict[str, Any]:
    return {
        "verdict_id": str(recorded.verdict_id),
        "recorded_at": recorded.recorded_at.isoformat(),
        "verdict": recorded.verdict.model_dump(mode="json"),
        "explanation": recorded.explanation.model_dump(mode="json")
        if recorded.explanation
        else None,
        "pictures": _pictures(recorded, wiring),
    }
