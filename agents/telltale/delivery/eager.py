"""A coroutine begun where it stands, and made a task only if it has to wait.

In: a coroutine that has not begun. Out: its result, if it ended without waiting, or an awaitable of what
is left of it. What it raises before it waits is raised here. The same as the eager tasks of Python 3.12's
asyncio (``asyncio.eager_task_factory``), for one call.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Ended:
    """What a coroutine returned that waited for nothing."""

    result: Any


def begin(coroutine: Coroutine[Any, Any, Any]) -> Ended | Awaitable[Any]:
    """Run until it ends or waits."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as ended:
        return Ended(ended.value)
    return _rest(coroutine, waits_for)


async def _rest(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    return await _steps(coroutine, waits_for)


@types.coroutine
def _steps(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """Yield what it waits for, as it would have done itself."""
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # handed on to whom it concerns
            step = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, sent)
        try:
            waits_for = step()
        except StopIteration as ended:
            return ended.value
