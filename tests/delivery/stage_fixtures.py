"""By stage: what it is asked, what it answers that with, and what it fails at.

A stage that is added to ``telltale.app.STAGES`` needs an entry here; without one the conformance suite
fails.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image as Pillow
from skimage import data
from tests.contract.samples import events

from telltale.events import (
    CuesRetrieved,
    Event,
    ExplanationReady,
    Image,
    ImageAdmitted,
    JudgmentMade,
    RegionsDetected,
    VerdictIssued,
)
from telltale.stages.contract import Stage
from telltale.stages.detect import Detect
from telltale.stages.explain import Explain
from telltale.stages.intake import STORED, Intake
from telltale.stages.judge import JudgeStage
from telltale.stages.record import Record
from telltale.stages.retrieve import Retrieve
from telltale.stages.verify import Verify

SIDE_PX = 300
# where the face and an eye are in the picture, by eye
BOXES = {"face": (95, 45, 195, 185), "eye": (115, 90, 140, 108), "image": (0, 0, SIDE_PX, SIDE_PX)}


@dataclass(frozen=True)
class Asked:
    """An event that a stage finishes, and the kind of event it answers with; None for no answer."""

    event: Event
    answer: type[Event] | None


@dataclass(frozen=True)
class Fixture:
    """A stage, events it finishes, and one it reads and cannot finish, with what is then said why."""

    stage: type[Stage]
    good: tuple[Asked, ...]
    failing: Event | None
    error: str = ""

    @property
    def answers(self) -> set[type[Event]]:
        return {asked.answer for asked in self.good if asked.answer is not None}


def _picture() -> bytes:
    """A face, as PNG."""
    out = io.BytesIO()
    Pillow.fromarray(data.astronaut()[:SIDE_PX, 80 : 80 + SIDE_PX]).save(out, "PNG")
    return out.getvalue()


def _of(event: Event) -> Event:
    """The event, had the stages made it of our picture."""
    ours: dict[str, object] = {"sha256": SHA256}
    if image := getattr(event, "image", None):
        size = {"sha256": SHA256, "width_px": SIDE_PX, "height_px": SIDE_PX}
        ours["image"] = image.model_copy(update=size)
    if detection := getattr(event, "detection", None):
        regions = [r.model_copy(update={"box_px": BOXES[r.type]}) for r in detection.regions]
        ours["detection"] = detection.model_copy(update={"regions": tuple(regions)})
    return event.model_copy(update={k: v for k, v in ours.items() if k in type(event).model_fields})


def _gone(event: Event) -> tuple[Event, str]:
    """The event about a picture that the store does not have, and what is said about it."""
    return _seen_as(event, sha256="0" * 64), "the image store has no"


def _seen_as(event: Event, **image: object) -> Event:
    found: Image = event.image  # type: ignore[attr-defined]
    return event.model_copy(update={"image": found.model_copy(update=image)})


PICTURE = _picture()
SHA256 = hashlib.sha256(PICTURE).hexdigest()
UPLOAD, ADMITTED, DETECTED, RETRIEVED, JUDGED, ISSUED, REJECTED, EXPLAINED = map(_of, events())

FIXTURES = {
    "intake": Fixture(
        Intake,
        (
            Asked(UPLOAD.model_copy(update={"uri": STORED + SHA256}), ImageAdmitted),
            Asked(UPLOAD.model_copy(update={"uri": "gopher://pictures.example/1"}), VerdictIssued),
        ),
        None,  # what it cannot admit it answers with a rejection
    ),
    "detect": Fixture(Detect, (Asked(ADMITTED, RegionsDetected),), *_gone(ADMITTED)),
    "retrieve": Fixture(Retrieve, (Asked(DETECTED, CuesRetrieved),), *_gone(DETECTED)),
    "judge": Fixture(JudgeStage, (Asked(RETRIEVED, JudgmentMade),), *_gone(RETRIEVED)),
    "verify": Fixture(Verify, (Asked(JUDGED, VerdictIssued),), *_gone(JUDGED)),
    "explain": Fixture(
        Explain, (Asked(ISSUED, ExplanationReady), Asked(REJECTED, None)), *_gone(ISSUED)
    ),
    "record": Fixture(
        Record,
        (Asked(ISSUED, None), Asked(EXPLAINED, None), Asked(REJECTED, None)),
        _seen_as(ISSUED, width_px=2**40),
        "integer out of range",
    ),
}
