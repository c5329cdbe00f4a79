"""A coroutine that waits for nothing costs no task; one that waits goes on as if it were one."""

from __future__ import annotations

import asyncio

import pytest

from telltale.delivery.eager import Ended, begin


async def doubled(gate: asyncio.Event | None, value: int) -> int:
    if gate is not None:
        await gate.wait()
        await asyncio.sleep(0)
    if value < 0:
        raise ValueError("below zero")
    return 2 * value


def test_what_waits_for_nothing_has_ended_at_once() -> None:
    assert begin(doubled(None, 2)) == Ended(4)


def test_what_it_raises_at_once_is_raised() -> None:
    with pytest.raises(ValueError, match="below zero"):
        begin(doubled(None, -1))


async def rest_of(value: int) -> asyncio.Task[int]:
    gate = asyncio.Event()
    rest = begin(doubled(gate, value))
    assert not isinstance(rest, Ended)
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    return task


async def test_what_waits_goes_on_as_a_task() -> None:
    assert await (await rest_of(2)) == 4


async def test_what_it_raises_later_is_the_tasks() -> None:
    with pytest.raises(ValueError, match="below zero"):
        await (await rest_of(-1))


async def test_it_is_told_that_it_was_cancelled() -> None:
    told = asyncio.Event()

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            raise

    rest = begin(waiting())
    assert not isinstance(rest, Ended)
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.is_set()
