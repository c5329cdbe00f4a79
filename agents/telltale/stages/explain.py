"""explain: draw where the evidence of a verdict lies, and score the drawing.

In: ``VerdictIssued``. Out: ``ExplanationReady`` (nothing for a rejected upload: there is nothing to
draw; nor for a promoted verdict, whose explanation comes with it). A map that does not rise over
that of a neutral sentence is reported as uninformative, with its statistics and without a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from telltale.cues import LANGUAGES, Cue, sentences
from telltale.drawing import heat_over, overview
from telltale.errors import UsageError
from telltale.events import (
    PROMOTED,
    Claim,
    Event,
    Explanation,
    ExplanationReady,
    MapScores,
    Region,
    SaliencyMap,
    VerdictIssued,
)
from telltale.models import Encoder, Explainer, MapResult
from telltale.policy import PolicyFile
from telltale.regions import Pixels, crop
from telltale.stages.contract import Answered, Batch, Item, Need, Outcome
from telltale.stages.reading import Blobs, PictureReader

SURROUNDINGS = 1.6  # the crop reaches beyond the region, so that a map can also point outside it
DELETED = 0.1  # share of the crop that the deletion test blurs


class Explain:
    """Draws maps for the strongest claims."""

    name = "explain"
    version = "3"
    reads: tuple[type[Event], ...] = (VerdictIssued,)
    needs: tuple[Need, ...] = ("image store",)
    # one picture shares nothing with the next: more at once would only hold up a hand-over
    batch = Batch(max_events=1)

    def __init__(
        self,
        explainer: Explainer,
        encoder: Encoder,
        cues: Mapping[str, Cue],
        reader: PictureReader,
        blobs: Blobs,
        policy: PolicyFile,
    ) -> None:
        self._explainer, self._encoder, self._cues = explainer, encoder, cues
        self._reader, self._blobs, self._policy = reader, blobs, policy

    def open(self) -> None:
        """Raises ``UsageError`` for a method in the policy that the explainer does not have."""
        wanted = self._policy.current().explain_methods
        if unknown := set(wanted) - set(self._explainer.methods):
            raise UsageError(
                f"policy, explain_methods: no {', '.join(sorted(unknown))}; "
                f"there are {', '.join(self._explainer.methods)}"
            )

    def prepare(self, item: Item[Event]) -> Pixels | None:
        """Read and decode, unless there is nothing to draw."""
        event = cast(VerdictIssued, item.event)
        if event.image is None or item.envelope.source == PROMOTED:
            return None
        return self._reader.pixels(event.image.sha256)

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """Picture by picture."""
        return [self._outcome(item) for item in items]

    def close(self) -> None:
        """Nothing of its own to release."""

    def _outcome(self, item: Item[Event]) -> Outcome:
        event = cast(VerdictIssued, item.event)
        if item.prepared is None or event.image is None or event.detection is None:
            return Answered()
        pixels = cast(Pixels, item.prepared)
        folder = f"pictures/{item.envelope.id}"
        regions = {r.region_id: r for r in event.detection.regions}
        maps = [
            drawn
            for n, claim in enumerate(self._chosen(event.verdict.claims))
            if claim.cue_id in self._cues and claim.region_id in regions
            for drawn in self._maps(f"{folder}/{n}", claim, regions[claim.region_id], pixels)
        ]
        whole = f"{folder}/overview.jpg"
        self._blobs.put_picture(
            whole, overview(pixels, event.detection.regions, event.verdict.claims)
        )
        return Answered(
            (
                ExplanationReady(
                    image_id=event.image_id,
                    uploaded_at=event.uploaded_at,
                    upload_id=event.upload_id,
                    verdict_id=item.envelope.id,
                    replay_id=event.replay_id,
                    sha256=event.image.sha256,
                    explanation=Explanation(
                        maps=tuple(maps), overview=whole, encoder=self._explainer.revision
                    ),
                ),
            )
        )

    def _chosen(self, claims: Sequence[Claim]) -> list[Claim]:
        """The claims a person should look at first: named, borne out, then likely."""
        order = {"supported": 0, "undecidable": 1, "contradicted": 2}
        ranked = sorted(
            claims, key=lambda c: (not c.named, order[c.status], -c.probability, c.claim_id)
        )
        return ranked[: self._policy.current().explained_claims]

    def _maps(self, name: str, claim: Claim, region: Region, pixels: Pixels) -> list[SaliencyMap]:
        cue = self._cues[claim.cue_id]
        artifact, natural = (
            [s for language in LANGUAGES for s in sentences(cue, side, language)]
            for side in ("artifact", "natural")
        )
        window = crop(pixels, region.box_px, self._encoder.size_px, SURROUNDINGS)
        texts = self._encoder.encode_texts([*artifact, *natural])
        direction = texts[: len(artifact)].mean(axis=0) - texts[len(artifact) :].mean(axis=0)
        results = [
            self._explainer.explain(window, artifact, natural, method)
            for method in self._policy.current().explain_methods
        ]
        blurred = blur(window)
        deleted = [without_top(window, blurred, result.heat) for result in results]
        shown = self._encoder.encode_images([window, *deleted]) @ direction
        maps = []
        for result, left in zip(results, shown[1:], strict=True):
            method, picture = result.method, None
            if result.informative:
                picture = f"{name}-{method.replace('+', 'p')}.jpg"
                self._blobs.put_picture(picture, heat_over(window, result.heat))
            maps.append(
                SaliencyMap(
                    claim_id=claim.claim_id, region_id=region.region_id, method=method,
                    informative=result.informative, picture=picture,
                    scores=_scores(result, float(shown[0] - left)),
                )
            )  # fmt: skip
        return maps


def _scores(result: MapResult, drop: float) -> MapScores:
    return MapScores(
        peak=round(result.peak, 6),
        neutral_peak=round(result.neutral_peak, 6),
        mass_in_region=round(mass_in_middle(result.heat, 1 / SURROUNDINGS), 4),
        rise=round(result.rise, 4),
        deletion_drop=round(drop, 6),
    )


def mass_in_middle(heat: NDArray[np.float32], share: float) -> float:
    """Share of the heat inside the middle square whose side is ``share`` of the map's; 0 to 1."""
    height, width = heat.shape
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    total = float(heat.sum())
    inside = float(heat[top : height - top, left : width - left].sum())
    return min(inside / total, 1.0) if total > 0 else 0.0


def blur(pixels: Pixels) -> Pixels:
    """What is laid where a crop is deleted: itself, without its detail."""
    height, width = pixels.shape[:2]
    blurred: Pixels = ndimage.gaussian_filter(pixels, (height / 16, width / 16, 0))
    return blurred


def without_top(pixels: Pixels, blurred: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """The picture with its hottest tenth blurred away (deletion: Petsiuk et al., RISE, 2018)."""
    height, width = pixels.shape[:2]
    zoom = (height / heat.shape[0], width / heat.shape[1])
    full = ndimage.zoom(heat, zoom, order=1)[:height, :width]
    hot = (full >= np.quantile(full, 1 - DELETED))[..., None]
    return np.where(hot, blurred, pixels).astype(np.uint8)
