"""Stand-ins without models that are slow or crash on purpose, and a worker of them: ``python -m faulty STAGE``.

The rows of the table of faults that are about delivery alone use these and the stages of ``toy``.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import toy
from aiokafka.consumer.fetcher import Fetcher
from faust.tables.recovery import Recovery

from telltale.delivery import app
from telltale.events import Event, ImageUploaded
from telltale.stages.contract import Batch, Item, Outcome


class Crashing(toy.Toy):
    """An event that asks for it takes the process down: a real segmentation fault, or, every other
    time, the signal with which the kernel ends a process that has used up the memory."""

    def _one(self, item: Item[Event]) -> Outcome:
        event = item.event
        assert isinstance(event, ImageUploaded)
        if event.context.get("do") == "crash":
            deaths = Path(event.context["deaths"])
            with deaths.open("a") as log:
                log.write("x")
            if deaths.stat().st_size % 2:
                ctypes.string_at(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._one(item)


STAGES = {
    "crashing": lambda: Crashing("crashing", Batch(8, 0.02)),
    # longer than the tests let a worker be silent or hold up a rebalance
    "sluggish": lambda: toy.Toy("sluggish", Batch(2, 0.0), delay_s=4.0),
}


def follow_clock(file: Path) -> None:
    """From now on the wall clock is off by the seconds that stand in the file, if it is there."""
    true_time = time.time

    def wrong_time() -> float:
        return true_time() + (float(file.read_text()) if file.exists() else 0.0)

    time.time = wrong_time


def fetch_over_rebalances() -> None:
    """From now on a fetch that waits outlives a rebalance, and has ended before events flow again.

    Both happen by themselves where the machine is busy.
    """
    fetch, resume = Fetcher.fetched_records, Recovery._resume_streams

    async def patient(self, partitions, timeout=0, max_records=None):
        return await fetch(self, partitions, 30.0, max_records)

    async def late(self, generation_id=0):
        await asyncio.sleep(2.0)
        await resume(self, generation_id)

    Fetcher.fetched_records, Recovery._resume_streams = patient, late


def bring_nothing() -> None:
    """From now on a worker fetches and is given nothing of it."""

    async def nothing(self, partitions, timeout=0, max_records=None):
        await asyncio.sleep(timeout)
        return {}

    Fetcher.fetched_records = nothing


def commit_at_hand_overs_only() -> None:
    """From now on nothing is committed between two rebalances."""
    given = app._faust_settings

    def rarely(*about):
        return given(*about) | {"broker_commit_interval": 3600.0}

    app._faust_settings = rarely


def rebalance_when_told_to_end() -> None:
    """From now on partitions are to move at the moment in which a worker is told to end."""
    stop = app.StageApp.stop

    async def amid(self):
        thread = self.consumer._thread
        rejoin = thread._ensure_consumer()._coordinator.request_rejoin
        thread.thread_loop.call_soon_threadsafe(rejoin)
        await stop(self)

    app.StageApp.stop = amid


FETCHING = {"over rebalances": fetch_over_rebalances, "nothing": bring_nothing}


if __name__ == "__main__":
    toy.STAGES.update(STAGES)
    if fetching := os.environ.get("FAULTY_FETCH"):
        FETCHING[fetching]()
    if os.environ.get("FAULTY_COMMIT") == "at hand-overs only":
        commit_at_hand_overs_only()
    if os.environ.get("FAULTY_END") == "amid a rebalance":
        rebalance_when_told_to_end()
    if clock := os.environ.get("FAULTY_CLOCK"):
        follow_clock(Path(clock))
    sys.exit(toy.main(sys.argv[1:]))
