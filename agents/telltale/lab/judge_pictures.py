"""Twins as the judge sees them: the crops of all regions, untouched and edited, kept in shards.

In: photographs with landmarks, a seed. Out: shards of pictures in a folder; those that exist are
kept, so making them can be cut off and goes on. Both twins went through the same resizing, blur
and JPEG (``telltale.lab.crops.draw_pair``). Raises ``LookupError`` for a folder without usable
photographs; kinds that a picture does not lend itself to are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telltale.lab.crops import (
    ELSEWHERE,
    KINDS,
    SIZE_PX,
    TRAINED,
    TYPES,
    Pair,
    Photograph,
    draw_pair,
    photographs,
    share,
)
from telltale.lab.edits import CannotPlant
from telltale.lab.elsewhere import Elsewhere
from telltale.lab.shards import drawn, shard, write
from telltale.lab.sharing import Told, silent
from telltale.regions import Region, crop

PER_SHARD = 32
TOUCHED = 0.02
"""An edit that covers less of a region than this cannot be expected to be seen in it."""
MEASURED_STRENGTHS = (1.0, 0.5)


@dataclass(frozen=True)
class Twin:
    """One pair of pictures: ``crops`` is regions x 2 x S x S x 3 uint8 (untouched, edited).

    ``share`` is how much of each region the edit covers, 0 to 1; ``own`` the regions in which the
    planted cue is looked for and the edit lies.
    """

    crops: NDArray[np.uint8]
    region_ids: tuple[str, ...]
    types: tuple[str, ...]
    share: NDArray[np.float32]
    own: NDArray[np.bool_]
    kind: str
    strength: float
    person: str


def make(
    faces: Path, folder: Path, seed: int, shards: int, measuring: bool, told: Told = silent
) -> None:
    """Fill ``folder`` with shards of PER_SHARD twins: of people and kinds trained on, half of them
    outside the studio, or (``measuring``) of people never trained on, all kinds, at plain and medium strength."""
    drawn(folder, range(shards), _make, faces, seed, measuring, told=told)


def _make(
    numbers: Sequence[int], folder: Path, faces: Path, seed: int, measuring: bool
) -> Iterator[int]:
    photos: list[Photograph] = []
    elsewhere = None if measuring else Elsewhere.packaged(ELSEWHERE)
    for number in numbers:
        photos = photos or photographs(faces, measuring)
        rng = np.random.default_rng([seed, 7, int(measuring), number])
        twins = list(_drawn(photos, rng, number, measuring, elsewhere))
        write(shard(folder, number), _arrays(twins))
        yield number


def read(shard: Path) -> Iterator[Twin]:
    """The twins of one shard, in order."""
    with np.load(shard) as held:
        a = {name: held[name] for name in held.files}
    for n in range(len(a["kind"])):
        mine = a["pair"] == n
        yield Twin(
            a["crops"][mine],
            tuple(str(r) for r in a["region"][mine]),
            tuple(TYPES[t] for t in a["type"][mine]),
            a["share"][mine],
            a["own"][mine],
            KINDS[int(a["kind"][n])],
            float(a["strength"][n]),
            str(a["person"][n]),
        )


def twin_of(pair: Pair) -> Twin:
    """All regions of a pair at scale 1, as the judge stage cuts them."""
    known = {r.region_id for r in pair.regions}
    regions: list[Region] = [*pair.regions, *(r for r in pair.own if r.region_id not in known)]
    own = {r.region_id for r in pair.own}
    covered = np.array([share(pair.mask, r, 1.0) for r in regions], np.float32)
    return Twin(
        np.stack([
            np.stack([crop(p, r.box_px, SIZE_PX) for p in (pair.real, pair.edited)]) for r in regions
        ]),
        tuple(r.region_id for r in regions),
        tuple(r.type for r in regions),
        covered,
        np.array([r.region_id in own and s > 0 for r, s in zip(regions, covered, strict=True)]),
        pair.kind,
        pair.strength,
        pair.person,
    )  # fmt: skip


def _drawn(
    photos: list[Photograph],
    rng: np.random.Generator,
    number: int,
    measuring: bool,
    elsewhere: Elsewhere | None,
) -> Iterator[Twin]:
    kinds = KINDS if measuring else TRAINED
    for n in range(PER_SHARD):
        kind = kinds[(number * PER_SHARD + n) % len(kinds)]
        strength = 1.0 if number % 2 == 0 else float(rng.uniform(0.35, 1.0))
        if measuring:
            strength = MEASURED_STRENGTHS[number % 2]
        try:
            twin = twin_of(draw_pair(photos, kind, strength, rng, elsewhere))
        except CannotPlant:
            continue
        if twin.own.any():
            yield twin


def _arrays(twins: list[Twin]) -> dict[str, NDArray[np.generic]]:
    return {
        "crops": np.concatenate([t.crops for t in twins]),
        "region": np.array([r for t in twins for r in t.region_ids]),
        "type": np.array([TYPES.index(x) for t in twins for x in t.types], np.int64),
        "share": np.concatenate([t.share for t in twins]),
        "own": np.concatenate([t.own for t in twins]),
        "pair": np.concatenate([np.full(len(t.types), n) for n, t in enumerate(twins)]),
        "kind": np.array([KINDS.index(t.kind) for t in twins], np.int64),
        "strength": np.array([t.strength for t in twins], np.float32),
        "person": np.array([t.person for t in twins]),
    }
