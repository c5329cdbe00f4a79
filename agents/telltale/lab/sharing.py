"""Work on numbered pieces shared between the cores.

In: a function of a list of numbers, which must be importable by name, and the numbers. Out: nothing;
what a piece gives must depend on its number alone. An error of any process is raised here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import cv2


def side_by_side(work: Callable[..., None], numbers: Sequence[int], *rest: Any) -> None:
    """``work(some of the numbers, *rest)`` in a process a core; here where one is enough."""
    count = min(len(os.sched_getaffinity(0)), len(numbers))
    if count <= 1:
        if numbers:
            work(numbers, *rest)
        return
    with ProcessPoolExecutor(count, get_context("spawn"), _alone) as pool:
        running = [pool.submit(work, numbers[n::count], *rest) for n in range(count)]
        for one in running:
            one.result()


def _alone() -> None:
    """One thread a process, since there is a process a core."""
    cv2.setNumThreads(1)
