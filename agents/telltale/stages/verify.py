"""verify: test every claim against the picture, calibrate, issue the verdict.

In: ``JudgmentMade``. Out: ``VerdictIssued``. A judgment that could not be had, an uncalibrated
encoder or a picture without a face that can be read makes the verdict inconclusive, with its
reason; nothing becomes authentic by default, and nothing manipulated without an artifact named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from telltale import __version__
from telltale.cues import Cue
from telltale.errors import EventFailed
from telltale.events import (
    Claim,
    Event,
    JudgmentMade,
    Profile,
    Provenance,
    Region,
    Verdict,
    VerdictIssued,
    VerdictLabel,
)
from telltale.models import Judge
from telltale.policy import Policy, PolicyFile
from telltale.regions import Pixels
from telltale.stages.carrying import carried
from telltale.stages.claims import ClaimChecker, Stated
from telltale.stages.contract import Answered, Batch, Failed, Item, Need, Outcome
from telltale.stages.embedding import RegionEmbedder, Vector
from telltale.stages.judge import ask_alone
from telltale.stages.reading import PictureReader


class Verify:
    """Checks claims and concludes."""

    name = "verify"
    version = "4"
    reads: tuple[type[Event], ...] = (JudgmentMade,)

    def __init__(
        self,
        checker: ClaimChecker,
        embedder: RegionEmbedder,
        reader: PictureReader,
        cues: Mapping[str, Cue],
        policy: PolicyFile,
        profile: Profile,
        batch: Batch,
        stages: Mapping[str, str],
        asker: Judge | None = None,
    ) -> None:
        self._checker, self._embedder, self._reader = checker, embedder, reader
        self._cues, self._policy, self._profile = cues, policy, profile
        self.batch, self._stages, self._asker = batch, dict(stages), asker
        self.needs: tuple[Need, ...] = ("image store", "redis", *(asker.needs if asker else ()))

    def open(self) -> None:
        """The models are given, loaded."""

    def prepare(self, item: Item[Event]) -> Pixels:
        """Read and decode; measurements and uncached crops need the pixels."""
        return self._reader.pixels(cast(JudgmentMade, item.event).image.sha256)

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """All regions of the batch in one look-up, then claim by claim."""
        events = [cast(JudgmentMade, i.event) for i in items]
        pixels = {
            e.image.sha256: cast(Pixels, i.prepared) for e, i in zip(events, items, strict=True)
        }
        vectors = self._embedder.embed(
            [(e.image.sha256, r) for e in events for r in e.detection.regions], pixels
        )
        return [self._outcome(e, vectors, pixels[e.image.sha256]) for e in events]

    def close(self) -> None:
        """Nothing of its own to release."""

    def _outcome(
        self, event: JudgmentMade, vectors: Mapping[str, Vector], pixels: Pixels
    ) -> Outcome:
        try:
            verdict = self.verdict(event, vectors, pixels)
        except (EventFailed, KeyError, ValueError) as error:
            return Failed(error)
        return Answered((carried(VerdictIssued, event, verdict=verdict),))

    def verdict(
        self, event: JudgmentMade, vectors: Mapping[str, Vector], pixels: Pixels
    ) -> Verdict:
        """What is concluded about one picture."""
        policy = self._policy.current()
        regions = self._embedder.keyed(event.image.sha256, event.detection.regions)
        claims = self._claims(event, regions, vectors, pixels)
        features = self.features(event, claims, regions, vectors, pixels)
        calibration = self._checker.calibration
        probability = round(calibration.image_probability(features), 4) if calibration else 0.5
        label, reasons = _concluded(probability, self._reasons(event), claims, policy)
        return Verdict(
            verdict=label,
            probability=probability,
            reliability=_reliability(claims),
            action=policy.actions[label],
            reasons=reasons,
            explanation=_sentence(label, probability, claims, reasons),
            claims=claims,
            provenance=Provenance(
                profile=self._profile,
                detector=event.detection.detector,
                encoder=self._embedder.encoder.revision,
                judge=event.judgment.judge,
                corpus=event.retrieval.corpus,
                calibration=calibration.revision if calibration else None,
                policy=policy.version,
                telltale=__version__,
                stages=self._stages,
                replay_id=event.replay_id,
            ),
        )

    def features(
        self,
        event: JudgmentMade,
        claims: Sequence[Claim],
        regions: Mapping[str, Region],
        vectors: Mapping[str, Vector],
        pixels: Pixels,
    ) -> dict[str, float]:
        """The evidence of one picture as numbers; what calibration weighs.

        ``evidence``: the log of the summed odds of artifacts, over every cue retrieved that can be
        checked, each where it is likeliest. ``claimed``: the model's confidence in the artifact that
        it is surest of. ``judge``: its confidence in its verdict beyond a toss, signed by the
        verdict. ``supported``: artifact claims borne out, at most 3.
        """
        odds: dict[str, float] = {}
        for c in event.retrieval.candidates:
            cue, region = self._cues.get(c.cue_id), regions.get(c.region_id)
            if cue is None or region is None or not self._checker.trusted(cue):
                continue
            there = self._checker.probability(cue, region, vectors, pixels)
            odds[c.cue_id] = max(odds.get(c.cue_id, 0.0), there / max(1 - there, 1e-6))
        sign = {"manipulated": 1.0, "authentic": -1.0, "inconclusive": 0.0}[event.judgment.verdict]
        artifacts = [
            c.confidence if c.polarity == "artifact" else 1 - c.confidence
            for c in event.judgment.claims
        ]
        borne_out = sum(c.status == "supported" and c.polarity == "artifact" for c in claims)
        return {
            "evidence": math.log(max(sum(odds.values()), 1e-3)),
            "claimed": max(artifacts, default=0.0),
            "judge": sign * max(0.0, 2 * event.judgment.confidence - 1),
            "supported": float(min(borne_out, 3)),
        }

    def _claims(
        self,
        event: JudgmentMade,
        regions: Mapping[str, Region],
        vectors: Mapping[str, Vector],
        pixels: Pixels,
    ) -> tuple[Claim, ...]:
        documents = {(c.cue_id, c.region_id): c.documents for c in event.retrieval.candidates}
        claims = []
        for claim in event.judgment.claims:
            if claim.cue_id not in self._cues or claim.region_id not in regions:
                continue  # a cue withdrawn since, or a region that is not there: nothing to check
            stated = Stated(
                self._cues[claim.cue_id], claim.region_id, claim.polarity, claim.sentence,
                claim.confidence, documents.get((claim.cue_id, claim.region_id), ()),
            )  # fmt: skip
            checked = self._checker.check(stated, regions, vectors, pixels)
            if checked.verifier == "ask" and self._asker is not None:
                checked = ask_alone(
                    self._asker, checked, stated.cue, regions[claim.region_id], pixels
                )
            named = checked.would_be_named(self._policy.current().named_from)
            claims.append(checked.model_copy(update={"named": named}))
        return tuple(claims)

    def _reasons(self, event: JudgmentMade) -> tuple[str, ...]:
        """Codes of what stands in the way of a verdict."""
        reasons = []
        if event.judgment.status != "ok":
            reasons.append(f"judge_{event.judgment.status}")
        if self._checker.calibration is None:
            reasons.append("uncalibrated")
        # a calibration is fitted on pictures of faces: of others it says nothing, whatever a claim's
        # numbers are (cats and flowers passed for manipulated)
        if not any(r.type == "face" for r in event.detection.regions):
            reasons.append("faces_too_small" if event.detection.faces_found else "no_face")
        return tuple(reasons)


def _concluded(
    probability: float, reasons: tuple[str, ...], claims: Sequence[Claim], policy: Policy
) -> tuple[VerdictLabel, tuple[str, ...]]:
    """The verdict, and the reasons where it is inconclusive."""
    if reasons:
        return "inconclusive", reasons
    if probability >= policy.manipulated_from:
        # a moderator must find something to look at; outside the studio every second verdict that named
        # nothing was wrong
        named = any(c.named for c in claims)
        return ("manipulated", ()) if named else ("inconclusive", ("no_artifact_named",))
    if probability < policy.authentic_below:
        return "authentic", ()
    return "inconclusive", ("between_thresholds",)


def _reliability(claims: Sequence[Claim]) -> float | None:
    return round(sum(c.status == "supported" for c in claims) / len(claims), 4) if claims else None


def _sentence(
    label: VerdictLabel, probability: float, claims: Sequence[Claim], reasons: Sequence[str]
) -> str:
    borne_out = sum(c.status == "supported" for c in claims)
    named = [f"{c.cue_id} in {c.region_id}" for c in claims if c.named]
    because = f" because of {', '.join(reasons)}" if reasons else ""
    return (
        f"{label.capitalize()}{because}: probability of manipulation {probability:.2f}, "
        f"{borne_out} of {len(claims)} claims borne out by the picture."
        + (f" It shows {', '.join(named)}." if named else "")
    )
