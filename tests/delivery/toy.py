"""Small stages without models, and a worker of them: ``python -m toy STAGE...``.

What a stage does with an event is written in the event's ``context``, so that a test says what it
wants by what it uploads.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from uuid import UUID

import numpy as np
import structlog

from telltale.delivery.worker import run_workers
from telltale.errors import DependencyAway, EventFailed, TelltaleError
from telltale.events import Event, Image, ImageAdmitted, ImageUploaded
from telltale.lab.chaos_worker import AT_STEPS, signal_at
from telltale.settings import load_settings
from telltale.stages.contract import Answered, Batch, Failed, Item, Need, Outcome, Stage
from telltale.stores.embeddings import EmbeddingCache

log = structlog.get_logger("toy")


class Toy(Stage):
    """Admits what is uploaded. ``context['do']`` may ask for trouble."""

    version = "1"
    reads: tuple[type[Event], ...] = (ImageUploaded,)

    def __init__(self, name: str, batch: Batch, delay_s: float = 0.0) -> None:
        self.name, self.batch, self._delay_s = name, batch, delay_s

    def open(self) -> None:
        log.info("opens")

    def close(self) -> None:
        pass

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        if self._delay_s:
            time.sleep(self._delay_s)  # stands for the model
        return [self._one(item) for item in items]

    def _one(self, item: Item[Event]) -> Outcome:
        event = item.event
        assert isinstance(event, ImageUploaded)
        match event.context.get("do"):
            case "fail":
                return Failed(EventFailed("asked to fail"))
            case "raise":
                raise RuntimeError("asked to raise")
            case "die":
                os._exit(139)  # as a segmentation fault would
            case "hang":
                time.sleep(3600)
            case "long":
                long = event.model_copy(update={"context": {"long": "x" * 2_000_000}})
                return Answered((admitted(long, item.envelope.id),))
            case "hold" if event.context["stage"] == self.name:
                Path(event.context["began"]).touch()
                while not Path(event.context["until"]).exists():
                    time.sleep(0.05)
            case "away" if not Path(event.context["until"]).exists():
                raise DependencyAway("toy store", "refused", retry_after_s=0.2)
            case "say":
                logging.getLogger("toy").warning("said in process")
            case "once" if not Path(event.context["seen"]).exists():
                Path(event.context["seen"]).touch()
                return Failed(EventFailed("the first time only"))
        return Answered((admitted(event, item.envelope.id),))


class Preparing(Toy):
    """Does its work in ``prepare``; ``process`` only checks that it was done."""

    def prepare(self, item: Item[Event]) -> object:
        event = item.event
        assert isinstance(event, ImageUploaded)
        if event.context.get("do") == "raise":
            raise RuntimeError("asked to raise")
        if event.context.get("do") == "say":
            log.warning("said in prepare")
        return event.image_id

    def _one(self, item: Item[Event]) -> Outcome:
        assert item.prepared == item.event.image_id
        return super()._one(item)


class Caching(Toy):
    """Asks Redis about every upload, and answers whatever came of it."""

    needs: tuple[Need, ...] = ("redis",)

    def open(self) -> None:
        self._cache = EmbeddingCache(os.environ["TOY_REDIS"], 60, timeout_s=1.0)

    def _one(self, item: Item[Event]) -> Outcome:
        key = f"toy:{item.envelope.id}"
        if not self._cache.get_many([key]):
            self._cache.put_many({key: np.zeros(2, np.float32)})
        return super()._one(item)


def admitted(event: ImageUploaded, upload_id: UUID) -> ImageAdmitted:
    """A plausible answer that depends on the event alone."""
    return ImageAdmitted(
        image_id=event.image_id,
        uploaded_at=event.uploaded_at,
        upload_id=upload_id,
        image=Image(
            sha256="0" * 64,
            phash="0" * 16,
            width_px=1,
            height_px=1,
            media_type="image/png",
            size_bytes=1,
        ),
        context=event.context,
        replay_id=event.replay_id,
    )


STAGES = {
    "batched": lambda: Toy("batched", Batch(8, 0.02)),
    "single": lambda: Toy("single", Batch(1, 0.0)),
    "preparing": lambda: Preparing("preparing", Batch(4, 0.01)),
    "caching": lambda: Caching("caching", Batch(4, 0.01)),
    "slow": lambda: Toy("slow", Batch(4, 0.02), delay_s=0.02),
}


def main(names: list[str]) -> int:
    if fault := os.environ.get("TOY_FAULT"):
        calls, call = count(1), int(os.environ["TOY_FAULT_CALL"])
        signal_at(*AT_STEPS[fault], lambda: next(calls) == call)
    try:
        return run_workers([STAGES[name]() for name in names], load_settings())
    except TelltaleError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
