"""Region crops of twins on disk, in shards: what the encoder is trained on.

In: photographs with landmarks, a folder, a seed. Out: pairs of crops (untouched, edited) of the same
region, with the edit's mask (``telltale.lab.crops``). Raises ``LookupError`` for a folder without a
usable photograph; pictures that do not lend themselves to an edit are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.lab.crops import (
    ELSEWHERE,
    KINDS,
    SIZE_PX,
    TRAINED,
    TYPES,
    Photograph,
    draw_pair,
    mask_crop,
    photographs,
    rows_of,
)
from telltale.lab.edits import CannotPlant
from telltale.lab.elsewhere import Elsewhere
from telltale.lab.shards import drawn, shard, write
from telltale.lab.sharing import Told, silent
from telltale.regions import crop


class Rows(NamedTuple):
    """Crops of twins: n of each; see ``Cache``."""

    crops: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    kind: NDArray[np.int64]
    type: NDArray[np.int64]
    strength: NDArray[np.float32]
    own: NDArray[np.bool_]


def build(
    faces: Path,
    folder: Path,
    seed: int,
    numbers: Sequence[int],
    twins: int = 256,
    told: Told = silent,
) -> None:
    """Write the shards of those numbers to ``folder``; those that exist are kept.

    The crops are of training people, half of them set elsewhere. A shard follows from the seed and its
    number alone, so that one process a core shares the numbers.
    """
    drawn(folder, numbers, _build, faces, seed, twins, told=told)


def _build(
    numbers: Sequence[int], folder: Path, faces: Path, seed: int, twins: int
) -> Iterator[int]:
    photos: list[Photograph] = []
    elsewhere = Elsewhere.packaged(ELSEWHERE)
    for number in numbers:
        photos = photos or photographs(faces, measuring=False)
        rng = np.random.default_rng([seed, number])
        rows = _rows(photos, rng, twins, number % 2 == 0, elsewhere)
        path = shard(folder, number)
        np.save(path.with_suffix(".npy"), rows.crops)
        write(path, {k: v for k, v in rows._asdict().items() if k != "crops"})
        yield number


class Cache:
    """Shards on disk, crops mapped rather than read: rows by number.

    ``crops`` of a row is 2 x 128 x 128 x 3 uint8 (untouched, edited), ``masks`` 16 x 16 uint8.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._crops: list[NDArray[np.uint8]] = []
        self._meta: list[Rows] = []
        self._known: set[str] = set()
        self.refresh()

    def __len__(self) -> int:
        return len(self.kind)

    def refresh(self) -> None:
        """Take in shards written since. A shard counts once its ``.npz`` is there."""
        for path in sorted(self.folder.glob("*.npz")):
            if path.name in self._known:
                continue
            with np.load(path) as held:
                meta = {name: held[name] for name in Rows._fields if name != "crops"}
            crops = np.load(path.with_suffix(".npy"), mmap_mode="r")
            self._known.add(path.name)
            self._crops.append(crops)
            self._meta.append(Rows(crops=crops, **meta))
        self.kind = np.array([v for m in self._meta for v in m.kind], np.int64)
        self.type = np.array([v for m in self._meta for v in m.type], np.int64)
        self.strength = np.array([v for m in self._meta for v in m.strength], np.float32)
        self.own = np.array([v for m in self._meta for v in m.own], np.bool_)
        self._ends = np.cumsum([0, *(len(m.kind) for m in self._meta)])
        self._pools: dict[tuple[int, bool, bool], NDArray[np.int64]] = {}

    def pool(self, kind: int, own: bool, easy: bool) -> NDArray[np.int64]:
        """Numbers of the rows of a kind, of its own region or not, ``easy``: of plain strength only.

        All of the kind where there are none such, and all rows where there is none of the kind.
        """
        asked = (kind, own, easy)
        if asked not in self._pools:
            every = np.ones(len(self), bool)
            of_kind = self.kind == kind
            plain = self.strength >= 0.99 if easy else every
            choices = (of_kind & plain & (self.own == own), of_kind, every)
            these = next((c for c in choices if c.any()), every)
            self._pools[asked] = np.flatnonzero(these).astype(np.int64)
        return self._pools[asked]

    def rows(self, numbers: Sequence[int] | NDArray[np.int64]) -> Rows:
        """Those rows, in that order."""
        shard = np.searchsorted(self._ends, numbers, side="right") - 1
        at = [(int(s), int(n - self._ends[s])) for s, n in zip(shard, numbers, strict=True)]
        return Rows(
            np.stack([self._crops[s][i] for s, i in at]),
            np.stack([self._meta[s].masks[i] for s, i in at]),
            self.kind[numbers],
            self.type[numbers],
            self.strength[numbers],
            self.own[numbers],
        )


def _rows(
    photos: Sequence[Photograph],
    rng: np.random.Generator,
    twins: int,
    plain: bool,
    elsewhere: Elsewhere,
) -> Rows:
    found: dict[str, list[Any]] = {name: [] for name in Rows._fields}
    for n in range(twins):
        kind = TRAINED[n % len(TRAINED)]
        strength = 1.0 if plain else float(rng.uniform(0.35, 1.0))
        try:
            pair = draw_pair(photos, kind, strength, rng, elsewhere)
        except CannotPlant:
            continue
        for region, scale, own in rows_of(pair, rng):
            both = [crop(p, region.box_px, SIZE_PX, scale) for p in (pair.real, pair.edited)]
            row = (np.stack(both), mask_crop(pair.mask, region.box_px, scale), KINDS.index(kind),
                   TYPES.index(region.type), strength, own)  # fmt: skip
            for name, value in zip(Rows._fields, row, strict=True):
                found[name].append(value)
    return Rows(
        np.stack(found["crops"]),
        np.stack(found["masks"]),
        np.array(found["kind"], np.int64),
        np.array(found["type"], np.int64),
        np.array(found["strength"], np.float32),
        np.array(found["own"], np.bool_),
    )
