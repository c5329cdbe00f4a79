"""Embeddings of regions: what is cached changes how long they take, never what they are."""

from __future__ import annotations

from uuid import uuid4

import numpy as np

from telltale.events import Region
from telltale.stages.embedding import RegionEmbedder
from telltale.stores.embeddings import EmbeddingCache

from .toy import ColourEncoder

PIXELS = np.random.default_rng(1).integers(0, 256, (60, 60, 3), np.uint8)
REGION = Region(region_id="image", type="image", box_px=(3, 5, 50, 44), score=1)


def test_vectors_are_the_same_bytes_whether_they_were_cached_or_not(stack) -> None:
    encoder, sha256 = ColourEncoder(), uuid4().hex
    cache = EmbeddingCache(stack.redis_url, 60, 5.0)
    embedder = RegionEmbedder(encoder, cache, reader=None)
    first, again = (embedder.embed([(sha256, REGION)], {sha256: PIXELS}) for _ in range(2))
    assert encoder.crops_seen == 2  # two scales, computed once
    assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in again.items()}
