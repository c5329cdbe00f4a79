"""The groups that people of a data set say they belong to, so that errors can be told by group.

In: a folder (or manifest file) with ``people.csv`` in or above it: the person's id in the first
column, then self-reported columns; a column whose name ends in ``age`` holds years. Out: group
names by person. A data set without the file has no groups.
"""

from __future__ import annotations

import csv
from pathlib import Path

PEOPLE = "people.csv"
AGES = ((25, "under 25"), (40, "25 to 39"), (200, "40 and over"))


def people_file(folder: Path) -> Path | None:
    """``people.csv`` of a data set: in the folder, else beside it."""
    for path in (folder / PEOPLE, folder.parent / PEOPLE):
        if path.is_file():
            return path
    return None


def groups_of(folder: Path) -> dict[str, tuple[str, ...]]:
    """Group names by person id; empty where nothing is known."""
    path = people_file(folder)
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        columns = next(rows, [])
        return {
            row[0]: tuple(
                _group(column, value) for column, value in zip(columns[1:], row[1:], strict=True)
                if value
            )
            for row in rows
            if row
        }  # fmt: skip


def _group(column: str, value: str) -> str:
    if not column.endswith("age"):
        return value
    return next(name for below, name in AGES if float(value) < below)
