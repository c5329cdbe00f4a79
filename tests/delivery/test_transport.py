"""What the consumer takes for committed is what the group has committed."""

from __future__ import annotations

import asyncio

import pytest
from faust.types import TP

from telltale.delivery import transport
from telltale.delivery.transport import Transport

TAKEN, FRESH = TP("images.uploaded", 0), TP("images.uploaded", 1)


class Thread:
    """Stands for the client: the group has committed in one partition."""

    async def seek_to_committed(self):
        return {TAKEN: 7, FRESH: None}


async def test_a_commit_that_failed_counts_for_nothing_once_the_worker_is_back() -> None:
    consumer = object.__new__(Transport.Consumer)
    consumer._thread, consumer._read_offset = Thread(), {}
    # Faust writes these down when it tries to commit them, whatever comes of it
    consumer._committed_offset = {TAKEN: 9, FRESH: 5}
    await consumer.perform_seek()
    assert consumer._committed_offset == {TAKEN: 7, FRESH: None}
    assert consumer._read_offset == {TAKEN: 7, FRESH: None}


class Closing:
    """Stands for a client that waits for us, as one does that joins its group again."""

    async def stop(self):
        self.began = True
        await asyncio.Event().wait()


async def test_a_client_that_does_not_close_is_left(monkeypatch) -> None:
    monkeypatch.setattr(transport, "CLOSE_S", 0.05)
    thread = object.__new__(transport._ConsumerThread)
    thread._consumer = client = Closing()
    await asyncio.wait_for(thread.on_thread_stop(), 10)
    assert client.began


class Failing:
    """Stands for a client with a fetch that has failed, and that is cancelled while it waits to go on."""

    async def stop(self):
        fetch = asyncio.ensure_future(asyncio.Event().wait())
        await asyncio.sleep(0)
        fetch.cancel()
        await fetch


async def test_a_client_that_breaks_off_its_closing_does_not_take_its_thread_along() -> None:
    thread = object.__new__(transport._ConsumerThread)
    thread._consumer = Failing()
    await asyncio.wait_for(thread.on_thread_stop(), 10)


class Broken:
    """Stands for a client that fails to close."""

    async def stop(self):
        raise OSError("no")


async def test_what_a_client_raises_when_it_closes_is_not_hidden() -> None:
    thread = object.__new__(transport._ConsumerThread)
    thread._consumer = Broken()
    with pytest.raises(OSError, match="no"):
        await thread.on_thread_stop()
