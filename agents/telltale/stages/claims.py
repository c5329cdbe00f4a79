"""How far a picture bears out a claim about one of its regions.

In: cues, region embeddings, pixels, a calibration. Out: margins, z, placebos, probability and a
decision for each claim. Pure computation over what it is given; nothing is fetched here.

The margin is the mean cosine to a cue's artifact sentences minus that to its natural ones, after
the mean of each modality is removed (the modality gap of Liang et al., "Mind the Gap", NeurIPS
2022), averaged over two crop scales, then put against real regions of the same type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telltale.cues import LANGUAGES, Cue, Side, Verifier, sentences
from telltale.events import Claim, Placebo, Region, ScaleMargin
from telltale.measure import MEASUREMENTS
from telltale.models import Encoder
from telltale.policy.calibration import Calibration, CueNorm
from telltale.regions import Pixels, regions_for
from telltale.stages.embedding import SCALES, Vector

Matrix = NDArray[np.float32]
PAIRED = ("eye", "ear")  # parts that come in twos: the other one is a placebo


@dataclass(frozen=True)
class Stated:
    """What was claimed: by the judge, or asked about by retrieval."""

    cue: Cue
    region_id: str
    polarity: Side
    sentence: str
    confidence: float
    documents: tuple[str, ...] = ()


class ClaimChecker:
    """Checks claims with one encoder and its calibration; sentences are embedded once."""

    def __init__(
        self, encoder: Encoder, cues: Sequence[Cue], calibration: Calibration | None
    ) -> None:
        self.calibration = calibration
        self._cues = {c.cue_id: c for c in cues}
        dim = encoder.dim
        self._image_mean = np.zeros(dim, np.float32)
        self._text_mean = np.zeros(dim, np.float32)
        if calibration is not None:
            self._image_mean = np.array(calibration.image_mean, np.float32)
            self._text_mean = np.array(calibration.text_mean, np.float32)
        self._sides: dict[str, tuple[Matrix, Matrix]] = {}
        for cue in cues:
            both = [self._texts(encoder, cue, side) for side in ("artifact", "natural")]
            self._sides[cue.cue_id] = (both[0], both[1])

    def margin(self, cue_id: str, vector: Vector) -> float:
        """Mean cosine to artifact minus natural sentences; -2 to 2."""
        artifact, natural = self._sides[cue_id]
        image = _unit((vector - self._image_mean)[None])[0]
        return float((artifact @ image).mean() - (natural @ image).mean())

    def margins(
        self, cue_id: str, region: Region, vectors: Mapping[str, Vector]
    ) -> tuple[float, ...]:
        """One margin a scale."""
        return tuple(self.margin(cue_id, vectors[k]) for k in region.embedding_keys if k in vectors)

    def value(
        self, cue: Cue, region: Region, vectors: Mapping[str, Vector], pixels: Pixels
    ) -> float | None:
        """What is put against real regions: the measurement, or the mean margin."""
        by = self.verifier(cue)
        return self.read(cue, "measure" if by == "measure" else "clip", region, vectors, pixels)

    def read(
        self,
        cue: Cue,
        by: Literal["clip", "measure"],
        region: Region,
        vectors: Mapping[str, Vector],
        pixels: Pixels,
    ) -> float | None:
        """The mean margin, or the cue's measurement; None where there is none."""
        if by == "measure":
            measured = (
                MEASUREMENTS[cue.measurement](pixels, region.box_px) if cue.measurement else np.nan
            )
            return float(measured) if np.isfinite(measured) else None
        margins = self.margins(cue.cue_id, region, vectors)
        return float(np.mean(margins)) if margins else None

    def z(
        self, cue: Cue, region: Region, vectors: Mapping[str, Vector], pixels: Pixels
    ) -> float | None:
        """Standard deviations above real regions; None where not calibrated."""
        value = self.value(cue, region, vectors, pixels)
        return self.calibration.z(cue.cue_id, value) if self.calibration else None

    def verifier(self, cue: Cue) -> Verifier:
        """What checks claims of this cue: what passed the audit, else what the corpus suggests."""
        norm = self._norm(cue)
        return norm.by if norm is not None and norm.verifiable else cue.verifier

    def trusted(self, cue: Cue) -> bool:
        """Whether the audit found that this encoder, or the measurement, can check the cue."""
        norm = self._norm(cue)
        return norm is not None and norm.verifiable

    def probability(
        self, cue: Cue, region: Region, vectors: Mapping[str, Vector], pixels: Pixels
    ) -> float:
        """Calibrated probability that the artifact is there; 0.5 for a cue that cannot be checked."""
        if self.calibration is None or not self.trusted(cue):
            return 0.5
        z = self.z(cue, region, vectors, pixels)
        return self.calibration.probability(cue.cue_id, cue.family, z)

    def suspicion(self, cue: Cue, region: Region, vectors: Mapping[str, Vector]) -> float:
        """``probability`` without pixels; 0.5 for a cue that the audit does not let similarity check."""
        if self.calibration is None or not self.trusted(cue) or self.verifier(cue) != "clip":
            return 0.5
        margins = self.margins(cue.cue_id, region, vectors)
        z = self.calibration.z(cue.cue_id, float(np.mean(margins)) if margins else None)
        return self.calibration.probability(cue.cue_id, cue.family, z)

    def _norm(self, cue: Cue) -> CueNorm | None:
        return self.calibration.cues.get(cue.cue_id) if self.calibration else None

    def check(
        self,
        stated: Stated,
        regions: Mapping[str, Region],
        vectors: Mapping[str, Vector],
        pixels: Pixels,
    ) -> Claim:
        """The claim with its numbers. An untrusted cue is undecidable, never silently believed."""
        cue, region = stated.cue, regions[stated.region_id]
        value = self.value(cue, region, vectors, pixels)
        z = self.calibration.z(cue.cue_id, value) if self.calibration else None
        placebos = self._placebos(cue, region, regions, vectors, pixels)
        trusted = self.trusted(cue)
        by = self.verifier(cue)
        margins = () if by == "measure" else self.margins(cue.cue_id, region, vectors)
        return Claim(
            claim_id=f"{cue.cue_id}@{region.region_id}",
            cue_id=cue.cue_id,
            region_id=region.region_id,
            polarity=stated.polarity,
            sentence=stated.sentence,
            confidence=round(stated.confidence, 4),
            verifier=by,
            margins=tuple(
                ScaleMargin(scale=s, margin=round(m, 6))
                for s, m in zip(SCALES, margins, strict=False)
            ),
            measured=round(value, 6) if by == "measure" and value is not None else None,
            z=None if z is None else round(z, 4),
            specificity=round(z - max(p.z for p in placebos), 4)
            if z is not None and placebos
            else None,
            placebos=placebos,
            probability=round(self.calibration.probability(cue.cue_id, cue.family, z), 4)
            if self.calibration and trusted
            else 0.5,
            status=self.calibration.decide(cue.cue_id, cue.family, z, stated.polarity)
            if self.calibration and trusted
            else "undecidable",
            documents=stated.documents or cue.documents,
        )

    def _placebos(
        self,
        cue: Cue,
        region: Region,
        regions: Mapping[str, Region],
        vectors: Mapping[str, Vector],
        pixels: Pixels,
    ) -> tuple[Placebo, ...]:
        """The same claim where it should not hold, and another claim where this one is made."""
        trials: list[tuple[str, Region, Cue]] = []
        same_face = [
            r for r in regions.values() if r.face == region.face and r.region_id != region.region_id
        ]
        if region.type in PAIRED and (twins := [r for r in same_face if r.type == region.type]):
            trials.append(("other_side", twins[0], cue))
        if self.verifier(cue) != "measure":
            if others := [r for r in same_face if r.type not in (region.type, "face")]:
                trials.append(("wrong_region", others[0], cue))
            if shuffled := self._shuffled(cue, region):
                trials.append(("shuffled_claim", region, shuffled))
        found = ((k, r, c, self.z(c, r, vectors, pixels)) for k, r, c in trials)
        return tuple(
            Placebo.model_validate(
                {"kind": k, "region_id": r.region_id, "cue_id": c.cue_id, "z": round(z, 4)}
            )
            for k, r, c, z in found
            if z is not None
        )

    def _shuffled(self, cue: Cue, region: Region) -> Cue | None:
        """The first calibrated CLIP cue, by id after this one, that does not belong here."""
        norms = self.calibration.cues if self.calibration else {}
        order = sorted(c for c in norms if c in self._cues and norms[c].by == "clip")
        later = [c for c in order if c > cue.cue_id] + [c for c in order if c < cue.cue_id]
        for cue_id in later:
            other = self._cues[cue_id]
            if not regions_for(other.region, [region.geometry()]):
                return other
        return None

    def _texts(self, encoder: Encoder, cue: Cue, side: Side) -> Matrix:
        # both languages say the same; more paraphrases, less variance
        texts = [s for language in LANGUAGES for s in sentences(cue, side, language)]
        return _unit(encoder.encode_texts(texts) - self._text_mean)


def _unit(rows: Matrix) -> Matrix:
    unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)
    return unit
