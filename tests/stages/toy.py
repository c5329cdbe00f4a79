"""A transparent encoder for tests about what stages do with similarities, not about similarity.

A crop's embedding is its mean colour; a sentence's is the colour it names. It has no weights and
claims no skill: 'red' is near red pixels, which is all that a test of arithmetic needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from telltale.cues import Cue
from telltale.models import Embeddings
from telltale.policy.calibration import Calibration, ClaimFit, CueNorm, ImageFit
from telltale.regions import Pixels

AXES = ("red", "green", "blue")


class ColourEncoder:
    """Three dimensions: red, green, blue."""

    revision = "colour-1"
    dim = 3
    size_px = 16

    def __init__(self) -> None:
        self.crops_seen = 0

    def encode_images(self, crops: Sequence[Pixels]) -> Embeddings:
        self.crops_seen += len(crops)
        rows = [c.reshape(-1, 3).mean(axis=0) + 1e-3 for c in crops] or np.zeros((0, 3))
        return unit(np.array(rows, np.float32))

    def encode_texts(self, sentences: Sequence[str]) -> Embeddings:
        rows = [[float(axis in s) + 1e-3 for axis in AXES] for s in sentences] or np.zeros((0, 3))
        return unit(np.array(rows, np.float32))


class MemoryCache:
    """A cache that never leaves."""

    def __init__(self) -> None:
        self.vectors: dict[str, np.ndarray] = {}

    def get_many(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        return {k: self.vectors[k] for k in keys if k in self.vectors}

    def put_many(self, vectors: Mapping[str, np.ndarray]) -> None:
        self.vectors.update(vectors)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def cue(cue_id: str, artifact: str, natural: str, verifier: str = "clip", **more) -> Cue:
    """A cue whose every wording names one colour a side."""
    both = (
        {"en": f"{artifact} here", "ko": f"{artifact} 여기"},
        {"en": f"{natural} here", "ko": f"{natural} 여기"},
    )
    phrases = [
        {la: [f"{colour} {n} {la}" for n in range(4)] for la in ("en", "ko")}
        for colour in (artifact, natural)
    ]
    return Cue.model_validate(
        {
            "cue_id": cue_id, "region": cue_id.split(".")[0], "family": "colour", "artifact": both[0],
            "natural": both[1], "artifact_paraphrases": phrases[0], "natural_paraphrases": phrases[1],
            "keywords": {"en": artifact, "ko": "색"}, "verifier": verifier, "weight": 0.5,
            "documents": ["d"], **more,
        }
    )  # fmt: skip


def calibration(cue_ids: Sequence[str], **change) -> Calibration:
    """Margins of real regions around 0 with sd 0.1; risk bounds at one sd."""
    fit = ClaimFit(slope=1.0, intercept=0.0, natural_max=1.0, artifact_min=-1.0)
    values = {
        "revision": "toy", "profile": "mini", "encoder": ColourEncoder.revision, "judge": "toy", "alpha": 0.1,
        "image_mean": (0.0,) * 3, "text_mean": (0.0,) * 3,
        "cues": {c: CueNorm(by="clip", real_mean=0.0, real_sd=0.1, auroc=0.9, auroc_low=0.8, auroc_high=1.0, verifiable=True) for c in cue_ids},
        "families": {"colour": fit, "all": fit},
        "image": ImageFit(weights={"evidence": 0.5, "judge": 2.0}, intercept=-1.0), "fitted_on": "arithmetic",
    }  # fmt: skip
    return Calibration(**{**values, **change})
