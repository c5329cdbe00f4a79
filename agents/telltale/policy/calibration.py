"""What similarity means: norms and audit of each cue, calibration, the image-level combination.

In: a JSON file made by ``telltale lab calibrate`` for one encoder revision. Out: z scores,
probabilities and conformal decisions. Raises ``UsageError`` naming file and field.
Temperature/Platt scaling after Platt (1999); split-conformal label sets after Vovk et al. (2005)
and Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction" (2021).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from telltale.errors import UsageError
from telltale.events import ClaimStatus


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClaimFit(_Part):
    """Platt scaling of z, and the conformal bounds at the risk level of the file."""

    slope: float
    intercept: float
    natural_max: float = Field(description="z above which 'natural' is outside the conformal set")
    artifact_min: float = Field(description="z below which 'artifact' is outside the conformal set")


class CueNorm(_Part):
    """Margins (or measurements) of one cue on real regions, and its audit on planted pairs."""

    by: Literal["clip", "measure"] = Field(description="what is compared: the better, by the audit")
    real_mean: float
    real_sd: float = Field(gt=0)
    auroc: float | None = Field(None, description="on planted pairs; null where none was planted")
    auroc_low: float | None = None
    auroc_high: float | None = None
    verifiable: bool = Field(description="the interval of the AUROC lies above 0.5")
    fit: ClaimFit | None = Field(None, description="of this cue alone, where enough were planted")


class ImageFit(_Part):
    """Logistic combination of evidence into the probability of manipulation."""

    weights: dict[str, float]
    intercept: float


class Calibration(_Part):
    """Everything ``verify`` needs to turn similarities into probabilities."""

    revision: str
    profile: str
    encoder: str
    judge: str
    alpha: float = Field(gt=0, lt=0.5, description="risk level of the conformal sets")
    image_mean: tuple[float, ...] = Field(
        description="mean image embedding, removed before cosines"
    )
    text_mean: tuple[float, ...] = Field(description="mean text embedding, removed before cosines")
    cues: dict[str, CueNorm]
    families: dict[str, ClaimFit] = Field(description="'all' and by cue family")
    image: ImageFit
    fitted_on: str = Field(description="what data, how many pictures, which people")

    def z(self, cue_id: str, value: float | None) -> float | None:
        """Standard deviations above real regions; None for an unknown cue or value."""
        norm = self.cues.get(cue_id)
        if norm is None or value is None or not math.isfinite(value):
            return None
        return (value - norm.real_mean) / norm.real_sd

    def probability(self, cue_id: str, family: str, z: float | None) -> float:
        """Calibrated probability that the artifact is there; 0.5 where nothing is known."""
        fit = self._fit(cue_id, family)
        return 0.5 if z is None or fit is None else _sigmoid(fit.slope * z + fit.intercept)

    def decide(self, cue_id: str, family: str, z: float | None, polarity: str) -> ClaimStatus:
        """Whether the conformal label set bears out a claim of that polarity."""
        fit = self._fit(cue_id, family)
        if z is None or fit is None:
            return "undecidable"
        artifact, natural = z >= fit.artifact_min, z <= fit.natural_max
        if artifact == natural:
            return "undecidable"
        return "supported" if artifact == (polarity == "artifact") else "contradicted"

    def _fit(self, cue_id: str, family: str) -> ClaimFit | None:
        norm = self.cues.get(cue_id)
        own = norm.fit if norm else None
        return own or self.families.get(family) or self.families.get("all")

    def image_probability(self, features: dict[str, float]) -> float:
        """Probability of manipulation from the evidence of one picture."""
        total = sum(w * features.get(name, 0.0) for name, w in self.image.weights.items())
        return _sigmoid(total + self.image.intercept)


def load_calibration(path: Path) -> Calibration | None:
    """The calibration in that file, or None where there is none. Raises ``UsageError``."""
    if not path.is_file():
        return None
    try:
        return Calibration.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        detail = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else error
        raise UsageError(
            f"calibration {path}: {detail}; make it again with 'telltale lab calibrate'"
        ) from error


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))
