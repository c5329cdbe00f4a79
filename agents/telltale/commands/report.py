"""The demo's report: one HTML page that opens without a network, and a summary as JSON.

In: what was uploaded and what came back. Out: ``report.html`` (pictures inside) and ``summary.json``.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from telltale.drawing import shown
from telltale.events import ExplanationReady, VerdictIssued


@dataclass
class Result:
    """One uploaded picture and what became of it."""

    image_id: str
    file: Path
    manipulated: str | None
    verdict: VerdictIssued | None = None
    explanation: ExplanationReady | None = None
    latency_ms: float | None = None
    pictures: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool | None:
        """Whether the verdict fits what was really done; None while it says neither."""
        said = self.verdict.verdict.verdict if self.verdict else None
        if said not in ("manipulated", "authentic"):
            return None
        return (said == "manipulated") == (self.manipulated is not None)


def picture_keys(explanation: ExplanationReady) -> list[str]:
    """Keys of all pictures of an explanation: the overview, then the maps."""
    maps = [m.picture for m in explanation.explanation.maps if m.picture]
    return [k for k in (explanation.explanation.overview, *maps) if k]


def summary(results: Sequence[Result], first_verdict_s: float | None) -> dict[str, Any]:
    """What ``summary.json`` holds."""
    return {
        "first_verdict_s": first_verdict_s,
        "uploaded": len(results),
        "verdicts": sum(r.verdict is not None for r in results),
        "explanations": sum(r.explanation is not None for r in results),
        "images": [_entry(r) for r in results],
    }


def write(
    folder: Path,
    results: Sequence[Result],
    first_verdict_s: float | None,
    read_picture: Callable[[str], bytes],
) -> None:
    """Write both files. ``read_picture`` gives the bytes of a key."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary(results, first_verdict_s), indent=2, ensure_ascii=False)
    (folder / "summary.json").write_text(text)
    pages = Environment(
        loader=PackageLoader("telltale.commands", "templates"), autoescape=select_autoescape()
    )
    style = resources.files("telltale.commands").joinpath("templates/report.css").read_text()
    page = pages.get_template("report.html").render(
        shown=shown,
        results=results,
        style=style,
        profile=_profile(results),
        picture=lambda key: _inline(read_picture(key), 900),
        file=lambda path: _inline(path.read_bytes(), 420),
    )
    (folder / "report.html").write_text(page)


def _entry(result: Result) -> dict[str, Any]:
    verdict = result.verdict.verdict if result.verdict else None
    return {
        "image_id": result.image_id,
        "file": str(result.file),
        "manipulated": result.manipulated,
        "verdict": verdict.verdict if verdict else None,
        "probability": verdict.probability if verdict else None,
        "reliability": verdict.reliability if verdict else None,
        "claims": [c.model_dump(mode="json") for c in verdict.claims] if verdict else [],
        "reasons": list(verdict.reasons) if verdict else [],
        "latency_ms": result.latency_ms,
        "pictures": result.pictures,
    }


def _profile(results: Sequence[Result]) -> Any:
    return next((r.verdict.verdict.provenance for r in results if r.verdict), None)


def _inline(data: bytes, side_px: int) -> str:
    """A picture as a data URL, shrunk to what a page shows."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.thumbnail((side_px, side_px))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
