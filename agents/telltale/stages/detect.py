"""detect: from an admitted picture to its regions, with their embeddings in the cache.

In: ``ImageAdmitted``. Out: ``RegionsDetected``. One detector pass and one encoder pass a batch; a
picture whose embeddings are cached costs no second encoder pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from telltale.events import Detection, Event, ImageAdmitted, Region, RegionsDetected
from telltale.models import Detector, Found
from telltale.policy import Policy, PolicyFile
from telltale.regions import Pixels, regions_of
from telltale.stages.carrying import carried
from telltale.stages.contract import Answered, Batch, Item, Need, Outcome
from telltale.stages.embedding import RegionEmbedder
from telltale.stages.reading import PictureReader


class Detect:
    """Finds regions and embeds them."""

    name = "detect"
    version = "2"
    reads: tuple[type[Event], ...] = (ImageAdmitted,)
    needs: tuple[Need, ...] = ("image store", "redis")

    def __init__(
        self,
        detector: Detector,
        embedder: RegionEmbedder,
        reader: PictureReader,
        policy: PolicyFile,
        batch: Batch,
    ) -> None:
        self._detector, self._embedder, self._reader = detector, embedder, reader
        self._policy, self.batch = policy, batch

    def open(self) -> None:
        """The models are given, loaded."""

    def prepare(self, item: Item[Event]) -> Pixels:
        """Read and decode, while the GPU works on the batch before."""
        return self._reader.pixels(cast(ImageAdmitted, item.event).image.sha256)

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """Detect and embed all pictures of the batch together."""
        pictures = [cast(Pixels, i.prepared) for i in items]
        hashes = [cast(ImageAdmitted, i.event).image.sha256 for i in items]
        found = [
            regions_found(f, p, self._policy.current())
            for f, p in zip(self._detector.detect(pictures), pictures, strict=True)
        ]
        keyed = [
            tuple(self._embedder.keyed(h, regions).values())
            for h, (regions, _) in zip(hashes, found, strict=True)
        ]
        self._embedder.embed(
            [(h, r) for h, regions in zip(hashes, keyed, strict=True) for r in regions],
            dict(zip(hashes, pictures, strict=True)),
        )
        return [
            Answered((self._answer(cast(ImageAdmitted, i.event), regions, faces),))
            for i, regions, (_, faces) in zip(items, keyed, found, strict=True)
        ]

    def close(self) -> None:
        """Nothing of its own to release."""

    def _answer(
        self, event: ImageAdmitted, regions: tuple[Region, ...], faces: int
    ) -> RegionsDetected:
        detection = Detection(
            regions=regions, faces_found=faces,
            detector=self._detector.revision, encoder=self._embedder.encoder.revision,
        )  # fmt: skip
        return carried(RegionsDetected, event, detection=detection)


def regions_found(
    found: Sequence[Found], picture: Pixels, policy: Policy
) -> tuple[list[Region], int]:
    """The regions of a picture in whole pixels, and how many faces there are, small ones too."""
    faces = [f for f in found if f[0] == "face"]
    small = {id(f) for f in faces if min(f[1][2] - f[1][0], f[1][3] - f[1][1]) < policy.min_face_px}
    height, width = picture.shape[:2]
    kept = [f for f in found if id(f) not in small]
    regions = regions_of(kept, width, height, policy.max_faces)
    # whole pixels: what is published is what was embedded
    return [
        Region(**{**asdict(r), "box_px": tuple(map(round, r.box_px)), "score": round(r.score, 4)})
        for r in regions
    ], len(faces)
