"""What the consumer takes for committed is what the group has committed."""

from __future__ import annotations

from faust.types import TP

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
