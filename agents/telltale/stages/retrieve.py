"""retrieve: the cues and counter-cues worth asking about, in balance, with their evidence.

In: ``RegionsDetected``. Out: ``CuesRetrieved``. Two steps: pgvector finds the cues nearest to each region,
then those that similarity can check by the calibration's audit go first, the likeliest artifacts on one side
and the likeliest natural places on the other; the rest follow by similarity. Embeddings come from the
cache; those that have left it are computed again. The same input, corpus and calibration give the same
candidates in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np

from telltale.cues import SIDES, Cue, Side
from telltale.events import Candidate, CuesRetrieved, Event, Region, RegionsDetected, Retrieval
from telltale.policy import PolicyFile
from telltale.regions import CUE_REGIONS, CueRegion, RegionType, regions_for
from telltale.stages.carrying import carried
from telltale.stages.claims import ClaimChecker
from telltale.stages.contract import Answered, Batch, Item, Need, Outcome, Stage
from telltale.stages.embedding import RegionEmbedder, Vector
from telltale.stores.cues import Match, Wanted

NEAREST = 12  # cues of each side a region; the picture's best are chosen among them
EXEMPLARS = 2


class Corpus(Protocol):
    """What retrieve asks of the cue store."""

    def revision(self, encoder: str) -> str: ...

    def nearest(self, encoder: str, wanted: Sequence[Wanted], k: int) -> list[Match]: ...

    def exemplars(
        self, encoder: str, places: Sequence[tuple[str, RegionType, Vector]], k: int
    ) -> dict[str, tuple[str, ...]]: ...


class Retrieve(Stage):
    """Asks pgvector for the cues nearest to each region."""

    name = "retrieve"
    version = "2"
    reads: tuple[type[Event], ...] = (RegionsDetected,)
    # pixels only of what the cache does not have
    needs: tuple[Need, ...] = ("postgres", "redis", "image store")

    def __init__(
        self,
        corpus: Corpus,
        embedder: RegionEmbedder,
        cues: Mapping[str, Cue],
        policy: PolicyFile,
        batch: Batch,
        checker: ClaimChecker,
    ) -> None:
        self._corpus, self._embedder, self._cues = corpus, embedder, cues
        self._policy, self.batch, self._checker = policy, batch, checker

    def open(self) -> None:
        """Nothing: the corpus may be loaded while the worker runs."""

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """One look-up of embeddings a batch; a picture's cues are one query, its exemplars another."""
        events = [cast(RegionsDetected, i.event) for i in items]
        vectors = self._embedder.embed(
            [(e.image.sha256, r) for e in events for r in e.detection.regions]
        )
        revision = self._corpus.revision(self._embedder.encoder.revision)
        return [Answered((self._answer(e, vectors, revision),)) for e in events]

    def close(self) -> None:
        """Nothing of its own to release."""

    def _answer(
        self, event: RegionsDetected, vectors: Mapping[str, Vector], revision: str
    ) -> CuesRetrieved:
        encoder = self._embedder.encoder.revision
        means = {
            r.region_id: self._mean(event.image.sha256, r, vectors) for r in event.detection.regions
        }
        places = self._places(event.detection.regions)
        wanted = [Wanted(r, means[r], tuple(found)) for r, found in places.items()]
        matches = self._corpus.nearest(encoder, wanted, NEAREST)
        chosen = _balanced(self._ranked(matches, event, vectors), self._policy.current().candidates)
        types = {r.region_id: r.type for r in event.detection.regions}
        places_asked = [(r, types[r], means[r]) for r in sorted({m.region_id for m in chosen})]
        near = self._corpus.exemplars(encoder, places_asked, EXEMPLARS)
        candidates = tuple(
            Candidate(
                cue_id=m.cue_id, region_id=m.region_id, polarity=m.side, similarity=m.similarity,
                documents=self._cues[m.cue_id].documents if m.cue_id in self._cues else (),
                exemplars=near.get(m.region_id, ()),
            )
            for m in chosen
        )  # fmt: skip
        return carried(
            CuesRetrieved, event, retrieval=Retrieval(candidates=candidates, corpus=revision)
        )

    def _ranked(
        self, matches: Sequence[Match], event: RegionsDetected, vectors: Mapping[str, Vector]
    ) -> list[Match]:
        """Best first: what can be checked by how likely it is there (or is not), then the nearest."""
        regions = self._embedder.keyed(event.image.sha256, event.detection.regions)

        def likelihood(match: Match) -> float:
            cue = self._cues.get(match.cue_id)
            if cue is None or not self._checker.trusted(cue):
                return -1.0
            there = self._checker.suspicion(cue, regions[match.region_id], vectors)
            return there if match.side == "artifact" else 1.0 - there

        return sorted(matches, key=lambda m: -likelihood(m))  # stable: ties stay nearest first

    def _mean(self, sha256: str, region: Region, vectors: Mapping[str, Vector]) -> Vector:
        """The mean over both scales, length 1."""
        both = np.mean([vectors[k] for k in self._embedder.keys(sha256, region.box_px)], axis=0)
        return np.asarray(both / max(float(np.linalg.norm(both)), 1e-8), np.float32)

    def _places(self, regions: Sequence[Region]) -> dict[str, list[CueRegion]]:
        """By region id, the cue regions that are looked for there."""
        geometry = [r.geometry() for r in regions]
        places: dict[str, list[CueRegion]] = {}
        for cue_region in CUE_REGIONS:
            for region in regions_for(cue_region, geometry):
                places.setdefault(region.region_id, []).append(cue_region)
        return places


def _balanced(matches: Sequence[Match], most: int) -> list[Match]:
    """As many of either side, at most ``most`` together, the best of each, nearest first."""
    sides = [_best(matches, side) for side in SIDES]
    each = min(most // 2, *(len(found) for found in sides))
    chosen = [match for found in sides for match in found[:each]]
    return sorted(chosen, key=lambda m: (-m.similarity, m.cue_id, m.region_id, m.side))


def _best(matches: Sequence[Match], side: Side) -> list[Match]:
    """All of one side; a cue once, where it is best placed, so that variety is asked about."""
    seen: dict[str, Match] = {}
    for match in matches:
        if match.side == side:
            seen.setdefault(match.cue_id, match)
    return list(seen.values())
