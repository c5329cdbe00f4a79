"""Embeddings of regions: from the cache where it has them, else computed and cached.

In: content hashes, regions and scales. Out: vectors (dim float32, length 1 to within the cache's
precision) by cache key: the same whether the cache had them or not. A cache that is away costs
speed only; pixels that are gone raise ``EventFailed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.events import Region
from telltale.models import Encoder
from telltale.regions import Box, Pixels, crop
from telltale.stages.reading import PictureReader

Vector = NDArray[np.float32]
SCALES = (1.0, 1.6)  # the region itself, and with its surroundings: seams lie at the rim
MOST_CROPS = 256  # in one forward pass, so that a crowd does not exhaust memory


class Cache(Protocol):
    """Vectors by key; both may do nothing when the server is away."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Vector]: ...

    def put_many(self, vectors: Mapping[str, Vector]) -> None: ...


def embedding_key(revision: str, sha256: str, box: Box, scale: float) -> str:
    """Cache key: content, region, scale and model revision."""
    where = "-".join(f"{v:.0f}" for v in box)
    return f"emb:{revision}:{sha256}:{where}:{scale:g}"


class RegionEmbedder:
    """Embeds regions of pictures, at most once each."""

    def __init__(self, encoder: Encoder, cache: Cache, reader: PictureReader) -> None:
        self.encoder, self._cache, self._reader = encoder, cache, reader

    def keys(self, sha256: str, box: Box) -> tuple[str, ...]:
        """The cache keys of one region, one a scale."""
        return tuple(embedding_key(self.encoder.revision, sha256, box, s) for s in SCALES)

    def keyed(self, sha256: str, regions: Iterable[Region]) -> dict[str, Region]:
        """By region id, each with this encoder's keys: a replay under another encoder embeds anew."""
        return {
            r.region_id: r.model_copy(update={"embedding_keys": self.keys(sha256, r.box_px)})
            for r in regions
        }

    def embed(
        self, wanted: Iterable[tuple[str, Region]], pixels: Mapping[str, Pixels] | None = None
    ) -> dict[str, Vector]:
        """Vectors by key for every (content hash, region) at every scale.

        ``pixels`` holds pictures already decoded, by hash; others are read when needed.
        """
        places: dict[str, tuple[str, Box, float]] = {}
        for sha256, region in wanted:
            for key, scale in zip(self.keys(sha256, region.box_px), SCALES, strict=True):
                places[key] = (sha256, region.box_px, scale)
        found = self._cache.get_many(list(places))
        missing = [k for k in places if k not in found]
        fresh: dict[str, Vector] = {}
        images: dict[str, Image.Image] = {}
        for start in range(0, len(missing), MOST_CROPS):
            chunk = missing[start : start + MOST_CROPS]
            crops = [self._crop(*places[k], pixels or {}, images) for k in chunk]
            vectors = self.encoder.encode_images(crops)
            # as they will come back from the cache, or a verdict would depend on what was cached
            rounded = vectors.astype(np.float16).astype(np.float32)
            fresh.update(zip(chunk, rounded, strict=True))
        if fresh:
            self._cache.put_many(fresh)
        return {**found, **fresh}

    def _crop(
        self,
        sha256: str,
        box: Box,
        scale: float,
        pixels: Mapping[str, Pixels],
        images: dict[str, Image.Image],
    ) -> Pixels:
        if sha256 not in images:
            picture = pixels.get(sha256)
            picture = self._reader.pixels(sha256) if picture is None else picture
            images.clear()  # a picture's regions come one after the other: one copy is held
            images[sha256] = Image.fromarray(picture)
        return crop(images[sha256], box, self.encoder.size_px, scale)
