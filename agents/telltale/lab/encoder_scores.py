"""What the encoder can tell apart, on planted edits in photographs of people it never saw.

In: photographs with landmarks, an encoder, a seed. Out: for each kind and strength the AUROC of
its claim on its own region with a bootstrap interval, how often an edited picture stands above
its untouched twin, and two checks that must end at one half. Raises ``LookupError`` where no
photograph can be used. Whole pictures are measured by the bench, through the stages.

A score on planted edits is a score on planted edits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.cues import LANGUAGES, SIDES, Cue, load_cues, sentences
from telltale.lab.crops import KINDS, LEFT_OUT, SCALES, TRAINED, Pair, draw_pair, photographs
from telltale.lab.cutouts import backgrounds
from telltale.lab.edits import EDITS, CannotPlant
from telltale.lab.elsewhere import Elsewhere
from telltale.lab.people import groups_of
from telltale.lab.statistics import Figure, auroc, bootstrap
from telltale.lab.tables import LABEL_SEEDS
from telltale.models import Embeddings
from telltale.models.clip import ClipEncoder, load_mini
from telltale.regions import Pixels, Region, crop

Array = NDArray[np.float64]
MEASURED: tuple[tuple[str, float, float], ...] = (
    ("plain", 1.0, 0.0), ("medium", 0.5, 0.0), ("plain_elsewhere", 1.0, 1.0),
)  # fmt: skip
"""Name, strength of the edits, share of the pictures set outside the studio."""
REFERENCE_PAIRS = 42
"""Untouched pictures of training people whose mean embedding is taken off."""


@dataclass(frozen=True)
class Row:
    """The margin of the planted cue on its own region: untouched, edited, and untouched again.

    ``again`` is the untouched picture after one more JPEG at a random quality.
    """

    kind: str
    person: str
    real: float
    edited: float
    again: float


class Margins:
    """Margins of planted cues: cosine to artifact minus natural, means removed, two scales.

    The arithmetic is that of ``telltale.stages.claims``.
    """

    def __init__(self, encoder: ClipEncoder, cues: Sequence[Cue]) -> None:
        self._encoder = encoder
        keys = [(c.cue_id, side) for c in cues for side in SIDES]
        held = {
            (c.cue_id, side): [s for lang in LANGUAGES for s in sentences(c, side, lang)]
            for c in cues
            for side in SIDES
        }
        vectors = encoder.encode_texts([s for key in keys for s in held[key]])
        vectors = _unit(vectors - vectors.mean(0))
        ends = np.cumsum([len(held[key]) for key in keys])[:-1]
        means = dict(zip(keys, [part.mean(0) for part in np.split(vectors, ends)], strict=True))
        self._directions = {
            c.cue_id: means[(c.cue_id, "artifact")] - means[(c.cue_id, "natural")] for c in cues
        }
        self._mean = np.zeros(encoder.dim, np.float32)

    def centre(self, pairs: Sequence[Pair]) -> None:
        """Take the mean embedding of untouched regions off from here on."""
        self._mean = np.concatenate([self._embedded(p.real, p.own) for p in pairs]).mean(0)

    def of(self, cue_id: str, pixels: Pixels, regions: Sequence[Region]) -> float:
        """The highest margin over the regions, each averaged over its scales."""
        rows = _unit(self._embedded(pixels, regions) - self._mean) @ self._directions[cue_id]
        return float(rows.reshape(len(regions), len(SCALES)).mean(1).max())

    def _embedded(self, pixels: Pixels, regions: Sequence[Region]) -> Embeddings:
        size = self._encoder.size_px
        return self._encoder.encode_images(
            [crop(pixels, r.box_px, size, s) for r in regions for s in SCALES]
        )


def evaluate(
    faces: Path, weights: Path | None = None, seed: int = 0, pairs: int = 16
) -> dict[str, Any]:
    """All figures, as plain values ready for JSON; ``pairs`` a kind and strength.

    ``weights`` is a folder of the package's layout, or None for the shipped ones.
    """
    encoder = load_mini(weights)
    margins = Margins(encoder, load_cues())
    margins.centre(_reference(faces, seed))
    photos, groups = photographs(faces, measuring=True), groups_of(faces)
    figures: dict[str, Any] = {
        "encoder": encoder.revision,
        "seed": seed,
        "people": len({p.person for p in photos}),
        "pairs_per_kind": pairs,
    }
    scenes = backgrounds()
    for number, (name, strength, moved) in enumerate(MEASURED):
        elsewhere = Elsewhere(moved, scenes) if moved else None
        rows: list[Row] = []
        for k, kind in enumerate(KINDS):
            rng = np.random.default_rng([seed, number, k])
            for _ in range(pairs):
                try:
                    pair = draw_pair(photos, kind, strength, rng, elsewhere)
                    rows.append(_row(margins, pair, rng))
                except CannotPlant:
                    break
        figures[name] = _figures(rows, seed) | {"by_group": _by_group(rows, groups, seed)}
    return figures


def _by_group(rows: Sequence[Row], groups: dict[str, tuple[str, ...]], seed: int) -> dict[str, Any]:
    """AUROC averaged over trained kinds for the people of each group, and how many they are."""
    out: dict[str, Any] = {}
    for group in sorted({g for r in rows for g in groups.get(r.person, ())}):
        own = [r for r in rows if group in groups.get(r.person, ())]
        scores = np.array([(r.real, r.edited) for r in own])
        out[group] = _auroc(own, scores, TRAINED, seed) | {"people": len({r.person for r in own})}
    return out


def _reference(faces: Path, seed: int) -> list[Pair]:
    rng = np.random.default_rng([seed, 99])
    photos = photographs(faces, measuring=False, limit=REFERENCE_PAIRS)
    kinds = [TRAINED[n % len(TRAINED)] for n in range(REFERENCE_PAIRS)]
    drawn = []
    for kind in kinds:
        with suppress(CannotPlant):  # not in these photographs
            drawn.append(draw_pair(photos, kind, 1.0, rng))
    if not drawn:
        raise LookupError(f"no edit can be planted in the training people's photographs of {faces}")
    return drawn


def _row(margins: Margins, pair: Pair, rng: np.random.Generator) -> Row:
    data = io.BytesIO()
    Image.fromarray(pair.real).save(data, "JPEG", quality=int(rng.integers(60, 99)))
    again = np.asarray(Image.open(data).convert("RGB"))
    values = [
        margins.of(EDITS[pair.kind].cue_id, pixels, pair.own)
        for pixels in (pair.real, pair.edited, again)
    ]
    return Row(pair.kind, pair.person, *values)


def _figures(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    kinds = [k for k in KINDS if any(r.kind == k for r in rows)]
    trained, left_out = [k for k in kinds if k in TRAINED], [k for k in kinds if k in LEFT_OUT]
    claims = np.array([(r.real, r.edited) for r in rows])
    again = np.array([(r.real, r.again) for r in rows])
    return {
        "auroc_by_kind": {k: _auroc(rows, claims, [k], seed) for k in kinds},
        "auroc_trained": _auroc(rows, claims, trained, seed),
        "auroc_left_out": _auroc(rows, claims, left_out, seed),
        "edited_above_twin": _above(rows, claims, trained, seed),
        "edited_above_twin_left_out": _above(rows, claims, left_out, seed),
        "check_recompressed": _auroc(rows, again, kinds, seed),
        "check_random_labels": _random_labels(rows, claims, kinds, seed),
    }


def _auroc(
    rows: Sequence[Row], scores: Array, kinds: Sequence[str], seed: int
) -> dict[str, float | None]:
    """AUROC averaged over kinds; the interval draws people again."""
    statistic = _mean_over(rows, scores, kinds)
    figure: Figure = bootstrap(statistic, [r.person for r in rows], seed, 300)
    return _rounded(figure)


def _random_labels(
    rows: Sequence[Row], scores: Array, kinds: Sequence[str], seed: int
) -> dict[str, float | None]:
    """The same with the twins of a pair swapped at random, ``LABEL_SEEDS`` times: the mean of those, and
    the range of 95% of them. One draw alone lies as far from one half as chance has it."""
    drawn = []
    for n in range(LABEL_SEEDS):
        swapped = np.random.default_rng([seed, n]).permuted(scores, axis=1)
        drawn.append(_mean_over(rows, swapped, kinds)(np.arange(len(rows))))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return _rounded(Figure(float(np.mean(drawn)), float(low), float(high)))


def _mean_over(
    rows: Sequence[Row], scores: Array, kinds: Sequence[str]
) -> Callable[[NDArray[np.int64]], float]:
    """AUROC of some of the rows, averaged over kinds."""

    def statistic(at: NDArray[np.int64]) -> float:
        values = []
        for kind in kinds:
            own = np.array([n for n in at if rows[n].kind == kind], np.int64)
            if len(own):
                labels = np.repeat([0.0, 1.0], len(own))
                values.append(auroc(labels, np.concatenate([scores[own, 0], scores[own, 1]])))
        return float(np.mean(values)) if values else float("nan")

    return statistic


def _above(
    rows: Sequence[Row], scores: Array, kinds: Sequence[str], seed: int
) -> dict[str, float | None]:
    """Share of pairs whose edited picture stands above its untouched twin."""
    wanted = np.array([r.kind in kinds for r in rows])
    above = scores[:, 1] > scores[:, 0]

    def statistic(at: NDArray[np.int64]) -> float:
        own = at[wanted[at]]
        return float(above[own].mean()) if len(own) else float("nan")

    return _rounded(bootstrap(statistic, [r.person for r in rows], seed, 300))


def _rounded(figure: Figure) -> dict[str, float | None]:
    return {k: None if v is None else round(v, 3) for k, v in figure.as_json().items()}


def _unit(rows: Embeddings) -> Embeddings:
    out: Embeddings = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return out
