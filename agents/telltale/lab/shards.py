"""Numbered files of material, drawn where they are missing: a cut-off drawing goes on.

In: a folder, numbers, how to draw. Out: ``<number>.npz`` in that folder; each is there whole or not at
all, since it is written under another name first. Errors are those of the drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.lab.sharing import Told, side_by_side


def shard(folder: Path, number: int) -> Path:
    """Where the shard of that number lies."""
    return folder / f"{number:04d}.npz"


def drawn(
    folder: Path,
    numbers: Sequence[int],
    work: Callable[..., Iterator[object]],
    *rest: Any,
    told: Told,
) -> None:
    """Have ``work(some numbers, folder, *rest)`` write the shards not there yet, a process a core.

    ``told`` hears of each, under the folder's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [n for n in numbers if not shard(folder, n).exists()]
    done = len(numbers) - len(missing)

    def made() -> None:
        nonlocal done
        done += 1
        told(folder.name, done, len(numbers))

    if missing:
        told(folder.name, done, len(numbers))
    side_by_side(work, missing, folder, *rest, made=made)


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a shard, to be seen under its name once it is whole."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    part.replace(path)
