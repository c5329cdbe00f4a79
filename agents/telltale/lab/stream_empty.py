"""The seven stages without models, servers or pictures: what is left is the plumbing.

In: what answers carry, either nothing (``EMPTY``: models that find nothing) or the sections of a real
verdict (``sections_of``). Out: ``Stage``s with the names, versions, topics, batches and kinds of event of
the real ones, that answer at once. Reading, batching, deriving ids, writing, sending, confirming and
acknowledging are the product's own. Nothing fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import BaseModel

from telltale.app import GPU_BATCH
from telltale.events import (
    CuesRetrieved,
    Detection,
    Event,
    Explanation,
    ExplanationReady,
    Image,
    ImageAdmitted,
    ImageUploaded,
    Judgment,
    JudgmentMade,
    Provenance,
    RegionsDetected,
    Retrieval,
    Verdict,
    VerdictIssued,
    read_value,
)
from telltale.settings import Settings
from telltale.stages.carrying import carried
from telltale.stages.contract import Answered, Batch, Item, Outcome, Stage
from telltale.stages.intake import FETCHES
from telltale.stages.record import Record

SHA256 = "0" * 64


@dataclass(frozen=True)
class Sections:
    """What the stages put into their events."""

    image: Image
    detection: Detection
    retrieval: Retrieval
    judgment: Judgment
    verdict: Verdict
    explanation: Explanation


EMPTY = Sections(
    image=Image(
        sha256=SHA256, phash="0" * 16, width_px=1, height_px=1, media_type="image/png", size_bytes=1
    ),
    detection=Detection(regions=(), faces_found=0, detector="empty", encoder="empty"),
    retrieval=Retrieval(candidates=(), corpus="empty"),
    judgment=Judgment(status="not_asked", judge="empty"),
    verdict=Verdict(
        verdict="inconclusive", probability=0.5, reliability=None, action="review", explanation="Empty.",
        provenance=Provenance(profile="mini", policy="empty", telltale="empty"),
    ),
    explanation=Explanation(maps=(), encoder="empty"),
)  # fmt: skip


def sections_of(verdict: Path, explanation: Path) -> Sections:
    """The sections of a real verdict and its explanation, from files that hold the messages' values."""
    issued = cast(VerdictIssued, read_value(VerdictIssued.topic, verdict.read_bytes()))
    ready = cast(ExplanationReady, read_value(ExplanationReady.topic, explanation.read_bytes()))
    assert issued.image
    assert issued.detection
    assert issued.retrieval
    assert issued.judgment
    return Sections(
        issued.image, issued.detection, issued.retrieval, issued.judgment, issued.verdict,
        ready.explanation,
    )  # fmt: skip


class Empty(Stage):
    """A stage that answers at once."""

    version = "1"

    def __init__(
        self,
        name: str,
        reads: tuple[type[Event], ...],
        batch: Batch,
        answer: Callable[[Item[Event]], tuple[Event, ...]],
    ) -> None:
        self.name, self.reads, self.batch, self._answer = name, reads, batch, answer

    def open(self) -> None:
        """Nothing to load."""

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """One answer an event."""
        return [Answered(self._answer(item)) for item in items]

    def close(self) -> None:
        """Nothing to release."""


def empty_stages(settings: Settings, put: Sections = EMPTY) -> list[Stage]:
    """All seven, with the batches that the settings give the real ones on a GPU."""
    batch = Batch(settings.batch_events or GPU_BATCH, settings.batch_wait_ms / 1000)
    asked = Batch(settings.judge_concurrency, batch.max_wait_s)

    def admit(item: Item[Event]) -> tuple[Event, ...]:
        upload = cast(ImageUploaded, item.event)
        return (
            ImageAdmitted(
                image_id=upload.image_id, uploaded_at=upload.uploaded_at, upload_id=item.envelope.id,
                image=put.image, context=upload.context, replay_id=upload.replay_id,
            ),
        )  # fmt: skip

    def explain(item: Item[Event]) -> tuple[Event, ...]:
        event = cast(VerdictIssued, item.event)
        return (
            ExplanationReady(
                image_id=event.image_id, uploaded_at=event.uploaded_at, upload_id=event.upload_id,
                verdict_id=item.envelope.id, replay_id=event.replay_id, sha256=put.image.sha256,
                explanation=put.explanation,
            ),
        )  # fmt: skip

    return [
        Empty("intake", (ImageUploaded,), Batch(FETCHES, 0.01), admit),
        Empty("detect", (ImageAdmitted,), batch, _adds(RegionsDetected, detection=put.detection)),
        Empty("retrieve", (RegionsDetected,), batch, _adds(CuesRetrieved, retrieval=put.retrieval)),
        Empty("judge", (CuesRetrieved,), asked, _adds(JudgmentMade, judgment=put.judgment)),
        Empty("verify", (JudgmentMade,), batch, _adds(VerdictIssued, verdict=put.verdict)),
        Empty("explain", (VerdictIssued,), batch, explain),
        Empty("record", Record.reads, Record.batch, lambda _: ()),
    ]


def _adds(kind: type[Event], **section: BaseModel) -> Callable[[Item[Event]], tuple[Event, ...]]:
    return lambda item: (carried(kind, item.event, **section),)
