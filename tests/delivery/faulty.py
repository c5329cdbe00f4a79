"""Stand-ins without models that are slow on purpose, and a worker of them: ``python -m faulty STAGE``.

The rows of the table of faults that are about delivery alone use these and the stages of ``toy``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import toy

from telltale.stages.contract import Batch

STAGES = {
    # longer than the tests let a worker be silent or hold up a rebalance
    "sluggish": lambda: toy.Toy("sluggish", Batch(2, 0.0), delay_s=4.0),
}


def follow_clock(file: Path) -> None:
    """From now on the wall clock is off by the seconds that stand in the file, if it is there."""
    true_time = time.time

    def wrong_time() -> float:
        return true_time() + (float(file.read_text()) if file.exists() else 0.0)

    time.time = wrong_time


if __name__ == "__main__":
    toy.STAGES.update(STAGES)
    if clock := os.environ.get("FAULTY_CLOCK"):
        follow_clock(Path(clock))
    sys.exit(toy.main(sys.argv[1:]))
