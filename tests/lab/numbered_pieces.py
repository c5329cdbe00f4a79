"""Work that another process can import, and quickly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


def pieces(numbers: Sequence[int], folder: Path, failing: int | None = None) -> Iterator[int]:
    """A file for each number; one of them may fail."""
    for number in numbers:
        if number == failing:
            raise ValueError(f"piece {number}")
        (folder / str(number)).touch()
        yield number
