"""verify: claims stand or fall by the picture, and nothing becomes authentic by default."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import numpy as np
import pytest

from telltale.events import (
    Candidate,
    Detection,
    Image,
    JudgedClaim,
    Judgment,
    JudgmentMade,
    Region,
    Retrieval,
)
from telltale.policy import PolicyFile
from telltale.stages.claims import ClaimChecker
from telltale.stages.contract import Answered, Batch
from telltale.stages.embedding import RegionEmbedder
from telltale.stages.verify import Verify

from .toy import ColourEncoder, MemoryCache, calibration, cue

RED = cue("skin.red", "red", "green")
TEXT = cue("text.blue", "blue", "green")
ASKED = cue("nose.asked", "red", "green", verifier="ask")
CUES = {c.cue_id: c for c in (RED, TEXT, ASKED)}
SHA = "0" * 64


def picture(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((100, 100, 3), colour, np.uint8)


def region(region_id: str, kind: str, box) -> Region:
    return Region(region_id=region_id, type=kind, box_px=box, score=0.9, face=0)


FACE = region("0.face", "face", (10.0, 10.0, 90.0, 90.0))
SKIN = region("0.skin", "skin", (20.0, 20.0, 80.0, 60.0))
MOUTH = region("0.mouth", "mouth", (40.0, 70.0, 60.0, 80.0))


def event(
    regions=(FACE, SKIN, MOUTH), status: str = "ok", verdict: str = "manipulated", claims=None
) -> JudgmentMade:
    if claims is None:
        claims = [
            JudgedClaim(
                cue_id="skin.red",
                region_id="0.skin",
                polarity="artifact",
                sentence="red",
                confidence=0.8,
            )
        ]
    return JudgmentMade(
        image_id="a", uploaded_at=datetime(2026, 1, 1, tzinfo=UTC), upload_id=uuid4(),
        image=Image(sha256=SHA, phash="0" * 16, width_px=100, height_px=100, media_type="image/png", size_bytes=9),
        detection=Detection(regions=tuple(regions), faces_found=sum(r.type == "face" for r in regions), detector="d", encoder="e"),
        retrieval=Retrieval(candidates=(Candidate(cue_id="skin.red", region_id="0.skin", polarity="artifact", similarity=0.5),), corpus="c"),
        judgment=Judgment(status=status, verdict=verdict, confidence=0.9, claims=tuple(claims), judge="j"),
    )  # fmt: skip


def verdict_of(event: JudgmentMade, pixels: np.ndarray, fitted="shipped"):
    encoder = ColourEncoder()
    reader = type("Reader", (), {"pixels": lambda self, sha: pixels})()
    checker = ClaimChecker(
        encoder, list(CUES.values()), calibration(CUES) if fitted == "shipped" else fitted
    )
    stage = Verify(
        checker, RegionEmbedder(encoder, MemoryCache(), reader), reader, CUES, PolicyFile(), "mini", Batch(4), {"verify": "1"}
    )  # fmt: skip
    item = type("Item", (), {"event": event, "prepared": pixels, "envelope": None})()
    outcome = stage.process([item])[0]
    assert isinstance(outcome, Answered), outcome
    return outcome.events[0].verdict


def test_a_claim_that_the_picture_shows_is_supported() -> None:
    verdict = verdict_of(event(), picture((255, 0, 0)))
    assert verdict.verdict == "manipulated"
    assert [(c.status, c.named) for c in verdict.claims] == [("supported", True)]
    assert "shows skin.red in 0.skin" in verdict.explanation
    assert verdict.reliability == 1.0
    assert verdict.claims[0].probability > 0.9


def test_a_claim_against_the_picture_is_contradicted_and_carries_no_verdict() -> None:
    verdict = verdict_of(event(), picture((0, 255, 0)))
    assert [c.status for c in verdict.claims] == ["contradicted"]
    assert verdict.reliability == 0.0
    assert verdict.verdict != "manipulated"


def test_a_counter_claim_is_supported_by_an_untouched_picture() -> None:
    claim = JudgedClaim(
        cue_id="skin.red", region_id="0.skin", polarity="natural", sentence="green", confidence=0.8
    )
    verdict = verdict_of(event(verdict="authentic", claims=[claim]), picture((0, 255, 0)))
    assert [c.status for c in verdict.claims] == ["supported"]
    assert verdict.verdict == "authentic"


def test_between_the_two_it_cannot_be_decided() -> None:
    verdict = verdict_of(event(), picture((128, 128, 128)))
    assert [(c.status, c.named) for c in verdict.claims] == [("undecidable", False)]
    assert "shows" not in verdict.explanation


@pytest.mark.parametrize("status", ["unreadable", "late", "unavailable", "not_asked"])
def test_without_a_judgment_it_is_inconclusive_with_the_reason(status: str) -> None:
    verdict = verdict_of(event(status=status, verdict="authentic", claims=[]), picture((0, 255, 0)))
    assert verdict.verdict == "inconclusive"
    assert f"judge_{status}" in verdict.reasons


def test_without_a_calibration_nothing_is_concluded() -> None:
    verdict = verdict_of(event(), picture((255, 0, 0)), fitted=None)
    assert verdict.verdict == "inconclusive"
    assert "uncalibrated" in verdict.reasons
    assert [c.status for c in verdict.claims] == ["undecidable"]


def test_without_a_face_it_is_inconclusive_even_where_a_claim_holds() -> None:
    image = region("image", "image", (0.0, 0.0, 100.0, 100.0))
    assert verdict_of(event(regions=(image,), claims=[]), picture((0, 255, 0))).reasons == (
        "no_face",
    )
    claim = JudgedClaim(
        cue_id="text.blue", region_id="image", polarity="artifact", sentence="blue", confidence=0.9
    )
    verdict = verdict_of(event(regions=(image,), claims=[claim]), picture((0, 0, 255)))
    assert [c.status for c in verdict.claims] == ["supported"]  # it is still told
    assert (verdict.verdict, verdict.reasons) == ("inconclusive", ("no_face",))


def test_a_natural_background_does_not_vouch_for_a_face_that_was_not_found() -> None:
    image = region("image", "image", (0.0, 0.0, 100.0, 100.0))
    claim = JudgedClaim(
        cue_id="text.blue", region_id="image", polarity="natural", sentence="green", confidence=0.9
    )
    verdict = verdict_of(event(regions=(image,), claims=[claim]), picture((0, 255, 0)))
    assert (verdict.verdict, verdict.reasons) == ("inconclusive", ("no_face",))


def test_a_high_probability_for_which_nothing_is_named_is_no_verdict() -> None:
    verdict = verdict_of(event(claims=[]), picture((255, 0, 0)))
    assert verdict.probability > PolicyFile().current().manipulated_from
    assert (verdict.verdict, verdict.reasons) == ("inconclusive", ("no_artifact_named",))


def test_a_natural_claim_that_the_picture_contradicts_is_no_artifact_named() -> None:
    claim = JudgedClaim(
        cue_id="skin.red", region_id="0.skin", polarity="natural", sentence="green", confidence=0.8
    )
    verdict = verdict_of(event(claims=[claim]), picture((255, 0, 0)))
    assert [(c.status, c.named) for c in verdict.claims] == [("contradicted", False)]
    assert verdict.claims[0].probability > 0.9
    assert (verdict.verdict, verdict.reasons) == ("inconclusive", ("no_artifact_named",))
    assert "shows" not in verdict.explanation


def test_a_cue_that_failed_its_audit_is_never_believed() -> None:
    failed = {
        c: n.model_copy(update={"verifiable": False}) for c, n in calibration(CUES).cues.items()
    }
    verdict = verdict_of(event(), picture((255, 0, 0)), calibration(CUES, cues=failed))
    assert [(c.status, c.probability) for c in verdict.claims] == [("undecidable", 0.5)]


def test_a_claim_names_its_placebos_and_specificity() -> None:
    pixels = picture((0, 255, 0))
    pixels[15:65, 15:85] = (255, 0, 0)
    claim = verdict_of(event(), pixels).claims[0]
    assert {p.kind for p in claim.placebos} == {"wrong_region", "shuffled_claim"}
    assert claim.specificity is not None
    assert claim.specificity > 0


def test_a_claim_about_what_is_not_there_is_left_out() -> None:
    gone = JudgedClaim(
        cue_id="skin.withdrawn",
        region_id="0.skin",
        polarity="artifact",
        sentence="x",
        confidence=1.0,
    )
    nowhere = JudgedClaim(
        cue_id="skin.red", region_id="9.skin", polarity="artifact", sentence="x", confidence=1.0
    )
    assert verdict_of(event(claims=[gone, nowhere]), picture((255, 0, 0))).claims == ()


def test_the_same_event_gives_the_same_verdict() -> None:
    once, again = (verdict_of(event(), picture((255, 0, 0))) for _ in range(2))
    assert once == again


def test_the_verdict_says_what_made_it() -> None:
    made_by = verdict_of(event(), picture((255, 0, 0))).provenance
    assert (made_by.profile, made_by.encoder, made_by.judge, made_by.corpus) == (
        "mini",
        "colour-1",
        "j",
        "c",
    )
    assert made_by.policy == PolicyFile().current().version
    assert made_by.calibration == "toy"
