"""The stream's own stages over pictures in memory, without Kafka: for calibration and evaluation.

In: picture bytes. Out: the verdict event of each, with the numbers it was concluded from. The stages
are those of the workers; only the topics between them are left out. Needs PostgreSQL with the cues
loaded, as retrieve does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid5

from telltale.app import Wiring
from telltale.errors import EventFailed
from telltale.events import (
    NAMESPACE,
    CuesRetrieved,
    Envelope,
    Event,
    ImageUploaded,
    JudgmentMade,
    VerdictIssued,
)
from telltale.stages.contract import Answered, Item, Stage
from telltale.stages.intake import STORED

# a fixed moment: evaluation answers the same whenever it is run
UPLOADED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Judged:
    """A verdict, the judgment it was made from, and the features that calibration weighs."""

    verdict: VerdictIssued
    judgment: JudgmentMade | None
    features: dict[str, float]


class Pipeline:
    """intake, detect, retrieve, judge and verify in one process."""

    def __init__(self, wiring: Wiring, batch: int = 16) -> None:
        self.batch, self.cues, self.judge = batch, wiring.cues, wiring.judge
        self.reader = wiring.reader
        self._blobs = wiring.blobs
        self._verify = wiring.verify()
        self._embedder = wiring.embedder
        self._before = [wiring.stage(n) for n in ("intake", "detect", "retrieve", "judge")]
        for stage in self._before:
            stage.open()

    def run(self, pictures: Iterator[bytes] | Sequence[bytes]) -> Iterator[Judged]:
        """One answer a picture, in order; a batch in memory at a time."""
        batch: list[bytes] = []
        for data in pictures:
            batch.append(data)
            if len(batch) == self.batch:
                yield from self.judged(batch)
                batch = []
        if batch:
            yield from self.judged(batch)

    def judged(self, batch: Sequence[bytes]) -> list[Judged]:
        """One answer a picture, in order, all at once."""
        events: list[Event] = []
        for data in batch:
            sha256 = self._blobs.put(data)
            events.append(
                ImageUploaded(image_id=sha256[:16], uploaded_at=UPLOADED_AT, uri=STORED + sha256)
            )
        for stage in self._before:
            events = _through(stage, events)
        return [self._answer(e) for e in events]

    def asked_again(self, events: Sequence[CuesRetrieved]) -> list[Judged]:
        """Judge and verify alone, on other candidates for pictures that were judged before."""
        return [self._answer(e) for e in _through(self._before[-1], events)]

    def concluded(self, event: JudgmentMade) -> Judged:
        """Verify alone, on another judgment of a picture that was judged before."""
        pixels = self.reader.pixels(event.image.sha256)
        regions = {r.region_id: r for r in event.detection.regions}
        vectors = self._embedder.embed(
            [(event.image.sha256, r) for r in regions.values()], {event.image.sha256: pixels}
        )
        verdict = self._verify.verdict(event, vectors, pixels)
        features = self._verify.features(event, verdict.claims, regions, vectors, pixels)
        return Judged(VerdictIssued(**event.model_dump(), verdict=verdict), event, features)

    def close(self) -> None:
        """Release what the stages took."""
        for stage in self._before:
            stage.close()

    def _answer(self, event: Event) -> Judged:
        if isinstance(event, VerdictIssued):  # refused at intake
            return Judged(event, None, {})
        assert isinstance(event, JudgmentMade)
        return self.concluded(event)


def _through(stage: Stage, events: Sequence[Event]) -> list[Event]:
    """One stage over those events it reads; the others (rejections) pass."""
    concerned = [e for e in events if isinstance(e, stage.reads)]
    if not concerned:
        return list(events)
    items = []
    for event in concerned:
        envelope = Envelope(
            id=uuid5(NAMESPACE, event.image_id),
            type=event.type_name,
            subject=event.image_id,
            time=UPLOADED_AT,
        )
        item = Item(event, envelope)
        items.append(Item(event, envelope, stage.prepare(item)))
    answers = {}
    for item, outcome in zip(items, stage.process(items), strict=True):
        if not isinstance(outcome, Answered):
            raise EventFailed(
                f"{stage.name} failed on {item.event.image_id}: {outcome.error}"
            ) from outcome.error
        answers[id(item.event)] = outcome.events[0]
    return [answers.get(id(e), e) for e in events]
