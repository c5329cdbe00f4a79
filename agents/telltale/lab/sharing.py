"""Work on numbered pieces shared between the cores.

In: a generator function of a list of numbers, which must be importable by name, and the numbers; it
yields once a piece is made. Out: nothing but word of each piece; what a piece gives must depend on its
number alone. An error of any process is raised here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import cv2

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

Told = Callable[[str, int, int], object]
"""Told what is counted, how many are done, and of how many: a progress bar."""
LOOK_S = 0.5
"""How often the bar is moved while other processes work."""


def silent(what: str, done: int, total: int) -> None:
    """For those who show no bar."""


def side_by_side(
    work: Callable[..., Iterator[object]],
    numbers: Sequence[int],
    *rest: Any,
    made: Callable[[], object] = lambda: None,
) -> None:
    """``work(some of the numbers, *rest)`` in a process a core; here where one is enough.

    ``made`` is called here after each piece.
    """
    count = min(len(os.sched_getaffinity(0)), len(numbers))
    if count <= 1:
        for _ in work(numbers, *rest) if numbers else ():
            made()
        return
    context = get_context("spawn")
    pieces: SimpleQueue[None] = context.SimpleQueue()
    with ProcessPoolExecutor(count, context, _begin, (pieces,)) as pool:
        running = {pool.submit(_drained, work, numbers[n::count], *rest) for n in range(count)}
        while running:
            ended, running = wait(running, LOOK_S)
            while not pieces.empty():
                pieces.get()
                made()
            for one in ended:
                one.result()


_pieces: list[SimpleQueue[None]] = []
"""In a process of the pool: where it gives word of what it made."""


def _begin(pieces: SimpleQueue[None]) -> None:
    """One thread a process, since there is a process a core."""
    cv2.setNumThreads(1)
    _pieces[:] = [pieces]


def _drained(work: Callable[..., Iterator[object]], *given: Any) -> None:
    for _ in work(*given):
        _pieces[0].put(None)
