"""Known examples for retrieval: regions in which an edit was planted, and the same regions untouched.

In: photographs with landmarks of people that the models are trained on, an encoder, a seed. Out:
embeddings as retrieve computes them (mean over both crop scales, length 1) with cue, kind and
strength. Raises ``LookupError`` for a folder without usable photographs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from telltale.lab.crops import TRAINED, Pair, draw_pair, photographs
from telltale.lab.edits import EDITS, CannotPlant
from telltale.models import Encoder
from telltale.regions import Pixels, Region, crop
from telltale.stages.embedding import SCALES
from telltale.stores.exemplars import Exemplar, Exemplars, Vectors, write

STRENGTHS = (0.5, 1.0)
EACH = 4
"""Pairs of a kind and strength."""
PHOTOGRAPHS = 48
"""At most so many are held in memory."""


def make(
    encoder: Encoder,
    faces: Path,
    out: Path,
    seed: int = 1,
    each: int = EACH,
    kinds: Sequence[str] = TRAINED,
) -> Exemplars:
    """Plant ``each`` edits of every kind trained on and strength, embed their regions, write ``out``."""
    photos = photographs(faces, measuring=False, limit=PHOTOGRAPHS)
    drawn: list[Pair] = []
    for k, kind in enumerate(track(kinds, "exemplars", console=Console(stderr=True))):
        rng = np.random.default_rng([seed, k])
        for n in range(each * len(STRENGTHS)):
            try:
                drawn.append(draw_pair(photos, kind, STRENGTHS[n % len(STRENGTHS)], rng))
            except CannotPlant:
                break  # not in these photographs
    known, vectors = zip(*(row for pair in drawn for row in _rows(encoder, pair)), strict=True)
    people = len({p.person for p in photos})
    made_from = f"planted edits in {len(photos)} photographs of {people} people"
    return write(out, encoder.revision, seed, made_from, list(known), np.stack(vectors))


def _rows(encoder: Encoder, pair: Pair) -> Iterator[tuple[Exemplar, Vectors]]:
    """The cue's own region of a pair, edited and untouched."""
    region = pair.own[0]
    for pixels, edited in ((pair.edited, True), (pair.real, False)):
        vector = _embedded(encoder, pixels, region)
        name = f"{pair.kind}-{round(100 * pair.strength)}-{('untouched', 'edited')[edited]}"
        content = hashlib.sha256(region.type.encode() + vector.tobytes()).hexdigest()[:10]
        yield (
            Exemplar(
                exemplar_id=f"{name}-{content}", region=region.type,
                cue_id=EDITS[pair.kind].cue_id if edited else None, edited=edited,
                kind=pair.kind, strength=pair.strength,
            ),
            vector,
        )  # fmt: skip


def _embedded(encoder: Encoder, pixels: Pixels, region: Region) -> Vectors:
    both = encoder.encode_images(
        [crop(pixels, region.box_px, encoder.size_px, s) for s in SCALES]
    ).mean(0)
    vector: Vectors = (both / max(float(np.linalg.norm(both)), 1e-8)).astype(np.float16)
    return vector
