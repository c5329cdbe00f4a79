"""How a verdict is told: as a line, as a table of claims, as JSON.

In: ``VerdictIssued`` events. Out: rich renderables and plain dictionaries.
"""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from telltale.events import VerdictIssued

STYLES = {
    "manipulated": "bold red",
    "authentic": "bold green",
    "inconclusive": "yellow",
    "rejected": "magenta",
}
MARKS = {"supported": "✓", "contradicted": "✗", "undecidable": "?"}


def number(value: float | None) -> str:
    """Two decimals, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def line(name: str, event: VerdictIssued, latency_ms: float) -> Text:
    """One verdict in one line, its claims marked by whether the picture bears them out."""
    verdict = event.verdict
    claims = "  ".join(f"{MARKS[c.status]} {c.cue_id}@{c.region_id}" for c in verdict.claims)
    text = Text()
    text.append(f"{verdict.verdict:<12}", STYLES[verdict.verdict])
    text.append(f" p={number(verdict.probability)} reliability={number(verdict.reliability)}")
    text.append(f" {latency_ms / 1000:6.1f} s  ", "dim")
    text.append(name, "bold")
    if verdict.reasons:
        text.append(f"  ({', '.join(verdict.reasons)})", "yellow")
    if claims:
        text.append(f"\n{'':13}{claims}")
    return text


def claims_table(event: VerdictIssued) -> Table:
    """Every claim with its numbers."""
    table = Table("claim", "says", "sentence", "z", "specificity", "probability", "picture says")
    for claim in event.verdict.claims:
        table.add_row(
            claim.claim_id, claim.polarity, claim.sentence, number(claim.z),
            number(claim.specificity), number(claim.probability), f"{MARKS[claim.status]} {claim.status}",
        )  # fmt: skip
    return table


def as_json(file: str | None, event: VerdictIssued) -> dict[str, Any]:
    """What ``--json`` prints for one image."""
    verdict = event.verdict
    return {
        "file": file,
        "image_id": event.image_id,
        "verdict": verdict.verdict,
        "probability": verdict.probability,
        "reliability": verdict.reliability,
        "claims": [c.model_dump(mode="json") for c in verdict.claims],
        "reasons": list(verdict.reasons),
        "code": verdict.code,
    }
