"""What a part of the method is worth: the same pictures judged without it.

In: the stages and what they answered. Out: the answer of each picture without one part. Nothing
is detected or embedded again; without ``verification`` no model is asked at all. What calibration
weighs stays as fitted for the whole. Raises ``UsageError`` for a judge that cannot be asked so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from telltale.cues import SIDES
from telltale.errors import UsageError
from telltale.events import Candidate, CuesRetrieved, JudgmentMade, Verdict
from telltale.lab.pipeline import Judged, Pipeline
from telltale.models import Question
from telltale.models.lmm import MiniJudge
from telltale.regions import regions_for

Without = Callable[[Pipeline, Sequence[Judged]], list[Verdict]]
SIGN = {"manipulated": 1.0, "authentic": -1.0, "inconclusive": 0.0}


def without_retrieval(pipeline: Pipeline, judged: Sequence[Judged]) -> list[Verdict]:
    """As many cues asked about, but drawn at random (by the picture's id) rather than nearest."""
    return _replaced(
        judged, lambda events: pipeline.asked_again([_at_random(pipeline, e) for e in events])
    )


def without_cues(pipeline: Pipeline, judged: Sequence[Judged]) -> list[Verdict]:
    """The judge sees the picture and is told of no cue, so it can claim none."""
    if isinstance(pipeline.judge, MiniJudge):
        raise UsageError(
            "--without cues: the mini judge sees a picture only through the regions that cues ask "
            "about; choose a judge of the standard profile"
        )

    def bare(events: Sequence[JudgmentMade]) -> list[Judged]:
        questions = [
            Question(
                e.image_id, pipeline.reader.pixels(e.image.sha256),
                tuple(r.geometry() for r in e.detection.regions), {}, (),
            )
            for e in events
        ]  # fmt: skip
        answers = pipeline.judge.judge(questions)
        return [
            pipeline.concluded(e.model_copy(update={"judgment": a}))
            for e, a in zip(events, answers, strict=True)
        ]

    return _replaced(judged, bare)


def without_verification(_: Pipeline, judged: Sequence[Judged]) -> list[Verdict]:
    """The judge is believed: its verdict, its confidence, and every claim, as none is checked."""
    found = []
    for one in judged:
        said = one.judgment.judgment if one.judgment else None
        verdict = one.verdict.verdict
        if said is not None:
            probability = round(0.5 + SIGN[said.verdict] * said.confidence / 2, 4)
            claims = tuple(c.model_copy(update={"status": "undecidable"}) for c in verdict.claims)
            verdict = verdict.model_copy(
                update={"verdict": said.verdict, "probability": probability, "claims": claims}
            )
        found.append(verdict)
    return found


ABLATIONS: dict[str, Without] = {
    "retrieval": without_retrieval,
    "cues": without_cues,
    "verification": without_verification,
}


def _replaced(
    judged: Sequence[Judged], again: Callable[[list[JudgmentMade]], list[Judged]]
) -> list[Verdict]:
    """Answers given again to what was judged; a picture that was refused stays refused."""
    events = [j.judgment for j in judged if j.judgment is not None]
    answers = iter(again(events) if events else [])
    return [(next(answers) if j.judgment is not None else j).verdict.verdict for j in judged]


def _at_random(pipeline: Pipeline, event: JudgmentMade) -> CuesRetrieved:
    rng = np.random.default_rng(int(event.image_id, 16))
    geometry = [r.geometry() for r in event.detection.regions]
    places = {
        c.cue_id: [r.region_id for r in found]
        for c in pipeline.cues.values()
        if (found := regions_for(c.region, geometry))
    }
    candidates = []
    for side in SIDES:
        count = sum(c.polarity == side for c in event.retrieval.candidates)
        for cue_id in rng.choice(sorted(places), min(count, len(places)), replace=False):
            region = places[cue_id][int(rng.integers(len(places[cue_id])))]
            documents = pipeline.cues[cue_id].documents
            candidates.append(
                Candidate(cue_id=cue_id, region_id=region, polarity=side, similarity=0.0,
                          documents=documents)
            )  # fmt: skip
    retrieval = event.retrieval.model_copy(update={"candidates": tuple(candidates)})
    given = event.model_dump(exclude={"judgment", "retrieval"})
    return CuesRetrieved(**given, retrieval=retrieval)
