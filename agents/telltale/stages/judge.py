"""judge: ask the multimodal model for claims and a judgment, given the picture and its cues.

In: ``CuesRetrieved``. Out: ``JudgmentMade``, also when the model answers nonsense, late or not at
all: then the judgment's status says so, and verify makes the verdict inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast, get_args

from PIL import Image

from telltale import tally
from telltale.cues import Cue
from telltale.events import (
    Claim,
    CuesRetrieved,
    Event,
    Judgment,
    JudgmentMade,
    JudgmentStatus,
    Region,
)
from telltale.models import Judge, Question
from telltale.regions import Pixels, crop
from telltale.stages.carrying import carried
from telltale.stages.contract import Answered, Batch, Item, Need, Outcome
from telltale.stages.reading import PictureReader


class JudgeStage:
    """Asks one question a picture."""

    name = "judge"
    version = "1"
    reads: tuple[type[Event], ...] = (CuesRetrieved,)

    def __init__(
        self,
        judge: Judge,
        cues: Mapping[str, Cue],
        reader: PictureReader,
        batch: Batch,
        language: str = "en",
    ) -> None:
        self._judge, self._cues, self._reader = judge, cues, reader
        self.batch, self._language = batch, language
        self.needs: tuple[Need, ...] = ("image store", *judge.needs)

    def open(self) -> None:
        """The model is given, loaded. Judgments are counted from nought: of what was never counted there
        is no rate."""
        for status in get_args(JudgmentStatus):
            tally.add("telltale_judgments_total", 0, status)

    def prepare(self, item: Item[Event]) -> Question:
        """Decode the picture and cut the crops that the model may look at."""
        event = cast(CuesRetrieved, item.event)
        pixels = self._reader.pixels(event.image.sha256)
        return question(event, pixels, self._cues, self._judge.crop_px, self._language)

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """Ask about those pictures for which something was retrieved."""
        asked = [i for i in items if cast(Question, i.prepared).asked]
        answers = self._judge.judge([cast(Question, i.prepared) for i in asked]) if asked else []
        by_item = {id(i): a for i, a in zip(asked, answers, strict=True)}
        nothing = Judgment(
            status="not_asked",
            reason="no cue fits a region of this picture",
            judge=self._judge.revision,
        )
        judgments = [by_item.get(id(i), nothing) for i in items]
        for judgment in judgments:
            tally.add("telltale_judgments_total", 1, judgment.status)
        return [
            Answered((carried(JudgmentMade, i.event, judgment=judgment),))
            for i, judgment in zip(items, judgments, strict=True)
        ]

    def close(self) -> None:
        """Nothing of its own to release."""


def question(
    event: CuesRetrieved, pixels: Pixels, cues: Mapping[str, Cue], crop_px: int, language: str
) -> Question:
    """What to ask about one picture; cues that this corpus no longer has are left out."""
    regions = {r.region_id: r.geometry() for r in event.detection.regions}
    asked = tuple(
        (cues[c.cue_id], c.region_id)
        for c in event.retrieval.candidates
        if c.cue_id in cues and c.region_id in regions
    )
    picture = Image.fromarray(pixels)
    unique = tuple(dict.fromkeys((cue.cue_id, region) for cue, region in asked))
    return Question(
        image_id=event.image_id,
        pixels=pixels,
        regions=tuple(regions.values()),
        crops={r: crop(picture, regions[r].box_px, crop_px) for _, r in unique},
        asked=tuple((cues[c], r) for c, r in unique),
        language=language,
    )


def ask_alone(judge: Judge, claim: Claim, cue: Cue, region: Region, pixels: Pixels) -> Claim:
    """Check a claim by asking again about this one cue, with nothing else to suggest an answer.

    Same polarity: supported; the other: contradicted; no readable answer: undecidable.
    """
    place = region.geometry()
    alone = Question(
        image_id=claim.claim_id,
        pixels=pixels,
        regions=(place,),
        crops={place.region_id: crop(pixels, place.box_px, judge.crop_px)},
        asked=((cue, place.region_id),),
    )
    answer = judge.judge([alone])[0]
    said = [c for c in answer.claims if c.cue_id == cue.cue_id] if answer.status == "ok" else []
    if not said:
        return claim
    agrees = said[0].polarity == claim.polarity
    there = said[0].confidence if said[0].polarity == "artifact" else 1 - said[0].confidence
    return claim.model_copy(
        update={"status": "supported" if agrees else "contradicted", "probability": round(there, 4)}
    )
