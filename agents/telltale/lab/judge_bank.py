"""What the image tower sees of the training pictures, computed once: the tower stays as it is.

In: twins (``judge_pictures``) and the encoder's cache of crops. Out: ``Scene``s whose features are
kept on disk under the digest of the tower, so that another tower's are never mistaken for them.
Raises ``LookupError`` where there is nothing to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from telltale.lab.crop_cache import Cache
from telltale.lab.crops import KINDS, TYPES
from telltale.lab.judge_data import Scene
from telltale.lab.judge_pictures import Twin, read
from telltale.lab.sharing import Told, silent
from telltale.models.lmm_mini import LAYERS, pooled
from telltale.regions import RegionType

BATCH = 64
FILLERS = 7
IDS: dict[RegionType, tuple[str, ...]] = {
    "face": ("0.face",), "eye": ("0.eye.0", "0.eye.1"), "nose": ("0.nose",), "mouth": ("0.mouth",),
    "ear": ("0.ear.0", "0.ear.1"), "object": ("object.0",), "brow": ("0.brow",),
    "hair": ("0.hair",), "skin": ("0.skin",), "jaw": ("0.jaw",), "neck": ("0.neck",),
    "background": ("background",), "image": ("image",),
}  # fmt: skip
"""Region ids of a picture with one face, by type."""

See = Callable[[NDArray[np.uint8]], NDArray[np.float16]]


def seeing(tower: Any) -> See:
    """A function from n x S x S x 3 uint8 to n x tokens x width pooled features of that tower."""
    device = next(tower.parameters()).device

    def see(crops: NDArray[np.uint8]) -> NDArray[np.float16]:
        rows = []
        for start in range(0, len(crops), BATCH):
            part = torch.from_numpy(np.ascontiguousarray(crops[start : start + BATCH])).to(device)
            pictures = part.permute(0, 3, 1, 2).float().div(127.5).sub(1)
            with torch.inference_mode():
                states = tower(pictures, output_hidden_states=True).hidden_states
                seen = pooled(torch.cat([states[n] for n in LAYERS], -1))
            rows.append(seen.half().cpu().numpy())
        return np.concatenate(rows)

    return see


def scenes(folder: Path, kept: Path, see: See, most: int, told: Told = silent) -> list[Scene]:
    """The twins of the first ``most`` shards; features are computed for those not seen before."""
    kept.mkdir(parents=True, exist_ok=True)
    found: list[Scene] = []
    shards = sorted(folder.glob("*.npz"))[:most]
    for n, path in enumerate(shards):
        features = kept / f"{folder.name}-{path.stem}.npy"
        twins = list(read(path))
        if not features.exists():
            _save(features, _seen(twins, see))
        rows = np.load(features)
        start = 0
        for twin in twins:
            mine = rows[start : start + len(twin.types)].swapaxes(0, 1)
            start += len(twin.types)
            found.append(
                Scene(mine, twin.region_ids, twin.types, twin.share, twin.own, twin.kind,
                      twin.strength, twin.person)
            )  # fmt: skip
        told(f"{folder.name}, seen", n + 1, len(shards))
    return found


class Composer:
    """Scenes put together from single crops: many more renditions than whole pictures give.

    One region shows the edit (or its untouched twin), the others are untouched crops of other
    pictures; every crop went through a degradation of its own, so none gives the edit away.
    """

    def __init__(self, cache: Cache, kept: Path, see: See, most: int, told: Told = silent) -> None:
        # a pair's first crop of its own region is at scale 1, the second at 1.6: see ``rows_of``
        rows = np.flatnonzero(cache.own)[0::2]
        rows = rows[(cache.strength[rows] >= 0.35)][:most]
        if not len(rows):
            raise LookupError(f"{cache.folder} holds no crops")
        self.kind, self.type = cache.kind[rows], cache.type[rows]
        self.strength = cache.strength[rows]
        parts = []
        for n in range(0, len(rows), 1024):
            path = kept / f"crops-{n // 1024:04d}.npy"
            chunk = rows[n : n + 1024]
            if not path.exists() or len(np.load(path, mmap_mode="r")) != len(chunk):
                crops = cache.rows(chunk).crops
                both = see(crops.reshape(-1, *crops.shape[2:]))
                _save(path, both.reshape(len(chunk), 2, *both.shape[1:]))
            parts.append(np.load(path))
            told(f"{cache.folder.name}, seen", n + len(chunk), len(rows))
        self.features = np.concatenate(parts)
        self._of_kind = {int(k): np.flatnonzero(self.kind == k) for k in np.unique(self.kind)}

    def draw(self, rng: np.random.Generator) -> Scene:
        """One scene, kinds in balance."""
        kind = int(rng.choice(list(self._of_kind)))
        first = int(rng.choice(self._of_kind[kind]))
        chosen, ids = [first], [_free(int(self.type[first]), (), rng)]
        for row in rng.integers(len(self.kind), size=2 * FILLERS):
            name = _free(int(self.type[row]), ids, rng)
            if name and len(ids) <= FILLERS:
                chosen.append(int(row))
                ids.append(name)
        untouched = self.features[chosen, 0]
        edited = untouched.copy()
        edited[0] = self.features[first, 1]
        here = np.arange(len(ids)) == 0
        return Scene(
            np.stack([untouched, edited]),
            tuple(ids),
            tuple(TYPES[int(t)] for t in self.type[chosen]),
            here.astype(np.float32),
            here,
            KINDS[kind],
            float(self.strength[first]),
        )


def _seen(twins: Sequence[Twin], see: See) -> NDArray[np.float16]:
    """Regions x 2 x tokens x width; what the edit left alone looks the same in both twins."""
    crops = np.concatenate([t.crops for t in twins])
    touched = np.concatenate([t.share for t in twins]) > 0
    untouched = see(crops[:, 0])
    both = np.stack([untouched, untouched], 1)
    both[touched, 1] = see(crops[touched, 1])
    return both


def _free(type_: int, taken: Sequence[str], rng: np.random.Generator) -> str:
    """A region id of that type that is not taken; empty where there is none."""
    free = [i for i in IDS[TYPES[type_]] if i not in taken]
    return str(rng.choice(free)) if free else ""


def _save(path: Path, rows: NDArray[np.float16]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, rows)
    part.replace(path)
