"""The limit: the calls that the stages make of their models, and nothing between them.

In: pictures. Out: seconds for the stages called directly, one batch after the other (no Kafka, no JSON;
decoding, hashing, Redis, PostgreSQL and drawing are still there), and seconds for the same model calls
made again with the very same arguments. Raises what the stages raise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from telltale.app import STAGES, Wiring
from telltale.errors import EventFailed
from telltale.events import Envelope, Event, ImageUploaded, derived_id
from telltale.lab.stream_traffic import WHEN, upload_envelope
from telltale.settings import Settings
from telltale.stages.contract import Answered, Item, Stage
from telltale.stages.intake import STORED

# (name in the wiring, its calls)
MODELS = (
    ("detector", ("detect",)),
    ("encoder", ("encode_images", "encode_texts")),
    ("judge", ("judge",)),
    ("explainer", ("explain",)),
)


class _Recorded:
    """A model whose calls are written down, so that they can be made again."""

    def __init__(self, model: Any, names: Sequence[str], calls: list[Callable[[], object]]) -> None:
        self._model, self._names, self._calls = model, names, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name not in self._names:
            return found

        def call(*given: Any, **named: Any) -> Any:
            self._calls.append(lambda: found(*given, **named))
            return found(*given, **named)

        return call


class BareLoop:
    """All seven stages in this process, and their models without them."""

    def __init__(self, settings: Settings) -> None:
        wiring = Wiring(settings)
        self._calls: list[Callable[[], object]] = []
        for name, names in MODELS:
            wiring.__dict__[name] = _Recorded(getattr(wiring, name), names, self._calls)
        self._stages = [wiring.stage(name) for name in STAGES]
        self._blobs = wiring.blobs
        self._batch = wiring.stage("detect").batch.max_events
        for stage in self._stages:
            stage.open()

    def stages_s(self, pictures: Sequence[Path]) -> float:
        """Seconds of the seven stages, called directly, over the pictures."""
        hashes = [self._blobs.put(path.read_bytes()) for path in pictures]
        self._calls.clear()
        began = time.perf_counter()
        for start in range(0, len(hashes), self._batch):
            self._through(hashes[start : start + self._batch])
        return time.perf_counter() - began

    def bare_s(self) -> float:
        """Seconds of the calls that those stages made of their models, made again."""
        calls = list(self._calls)
        began = time.perf_counter()
        for call in calls:
            call()
        return time.perf_counter() - began

    def _through(self, hashes: Sequence[str]) -> None:
        uploads = [
            ImageUploaded(image_id=f"bare-{h[:16]}", uploaded_at=WHEN, uri=STORED + h)
            for h in hashes
        ]
        made: list[tuple[Event, Envelope]] = [(u, upload_envelope(u)) for u in uploads]
        everything = list(made)
        for stage in self._stages:
            read = [(e, v) for e, v in everything if isinstance(e, stage.reads)]
            for start in range(0, len(read), stage.batch.max_events):
                everything += _answers(stage, read[start : start + stage.batch.max_events])


def _answers(stage: Stage, batch: Sequence[tuple[Event, Envelope]]) -> list[tuple[Event, Envelope]]:
    items = [Item(e, v, stage.prepare(Item(e, v))) for e, v in batch]
    found: list[tuple[Event, Envelope]] = []
    for (_, parent), outcome in zip(batch, stage.process(items), strict=True):
        if not isinstance(outcome, Answered):
            raise EventFailed(f"{stage.name}: {outcome.error}") from outcome.error
        for event in outcome.events:
            # the envelope is what explain and record key their rows by; nothing is sent
            event_id = derived_id(parent.id, stage.name, stage.version, None, event.type_name)
            found.append(
                (event, parent.model_copy(update={"id": event_id, "type": event.type_name}))
            )
    return found
