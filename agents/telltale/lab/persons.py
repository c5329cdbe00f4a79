"""Whose photograph a file is: told by a list, by the folders, or by the names.

In: paths below a folder, perhaps a CSV file (``file,person``). Out: a person's id by path. Raises
``UsageError`` for a list that leaves photographs out. People are what a bench is split by, so two
people under one id are cautious, and one person under two ids shows a test what was trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from telltale.errors import UsageError

COUNTERS = frozenset((
    "img", "dsc", "dscn", "dscf", "pxl", "mvimg", "vid", "sam", "gopr", "dji", "p", "photo", "picture",
    "pic", "image", "scan", "screenshot", "frame", "snapshot",
))  # fmt: skip
"""What cameras and programs put before a number: no person's name."""


def people_of(faces: Path, paths: Sequence[Path], listed: Path | None = None) -> dict[Path, str]:
    """The person of each of the photographs, all those of the folder.

    By ``listed`` where it is given. Where all lie in folders, and in more than one: a folder is a person.
    Else the stem up to its first ``_`` is one (``001_smiling``), unless that only counts
    photographs: ``IMG_1001``, or ``trip_1``, ``trip_2`` and nothing else; then each has one of its own.
    """
    if listed is not None:
        return _listed(faces, paths, listed)
    folders = {p.parent for p in paths}
    if len(folders) > 1 and faces not in folders:
        return {p: p.parent.relative_to(faces).as_posix() for p in paths}
    firsts = {p: p.stem.split("_")[0] for p in paths}
    counted = {p for p in paths if _counts(p.stem)}
    alike = len(counted) == len(paths) > 1 and len(set(firsts.values())) == 1
    return {
        p: p.relative_to(faces).with_suffix("").as_posix()
        if p in counted and (alike or first.lower() in COUNTERS)
        else first
        for p, first in firsts.items()
    }


def _counts(stem: str) -> bool:
    """Letters, ``_``, and a number next."""
    first, _, rest = stem.partition("_")
    return first.isalpha() and rest[:1].isdigit()


def _listed(faces: Path, paths: Sequence[Path], listed: Path) -> dict[Path, str]:
    if not listed.is_file():
        raise UsageError(f"--people {listed}: no such file")
    with listed.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "person"} <= set(rows[0]):
        raise UsageError(
            f"--people {listed}: wants the columns file,person, and a line a photograph"
        )
    told = {r["file"]: r["person"] for r in rows if r["person"]}
    names = {p: told.get(p.relative_to(faces).as_posix()) or told.get(p.name) for p in paths}
    left_out = [p.relative_to(faces).as_posix() for p, name in names.items() if not name]
    if left_out:
        raise UsageError(
            f"--people {listed} does not say who is in {left_out[0]} (and {len(left_out) - 1} more)"
        )
    return {p: name for p, name in names.items() if name}
