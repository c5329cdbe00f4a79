"""One filled event of every type, as the stages would make them of one picture."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from telltale.events import (
    Candidate,
    Claim,
    CuesRetrieved,
    Detection,
    Event,
    Explanation,
    ExplanationReady,
    Image,
    ImageAdmitted,
    ImageUploaded,
    JudgedClaim,
    Judgment,
    JudgmentMade,
    MapScores,
    Placebo,
    Provenance,
    Region,
    RegionsDetected,
    Retrieval,
    SaliencyMap,
    ScaleMargin,
    Verdict,
    VerdictIssued,
)

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
UPLOAD = UUID("00000000-0000-4000-8000-000000000001")
VERDICT = UUID("00000000-0000-4000-8000-000000000002")
SHA = "ab" * 32


def events() -> list[Event]:
    """Uploaded, admitted, detected, retrieved, judged, issued, rejected, explained."""
    upload = ImageUploaded(
        image_id="cat-1", uploaded_at=AT, uri="https://example.org/cat.jpg", context={"shop": "7"}
    )
    admitted = ImageAdmitted(
        image_id="cat-1", uploaded_at=AT, upload_id=UPLOAD, context=upload.context,
        image=Image(sha256=SHA, phash="0f" * 8, width_px=640, height_px=480, media_type="image/jpeg", size_bytes=9),
    )  # fmt: skip
    regions = (
        Region(region_id="0.face", type="face", box_px=(10, 10, 90.5, 110), score=0.9, face=0),
        Region(region_id="0.eye.0", type="eye", box_px=(20, 30, 40, 45), score=0.8, face=0, embedding_keys=("emb:1",)),
        Region(region_id="image", type="image", box_px=(0, 0, 640, 480), score=1),
    )  # fmt: skip
    detected = RegionsDetected(
        **admitted.model_dump(),
        detection=Detection(regions=regions, faces_found=1, detector="yolo-1", encoder="clip-1"),
    )
    candidate = Candidate(
        cue_id="iris.irregular_outline", region_id="0.eye.0", polarity="artifact", similarity=0.21,
        documents=("guo2022",), exemplars=("x1",),
    )  # fmt: skip
    retrieved = CuesRetrieved(
        **detected.model_dump(), retrieval=Retrieval(candidates=(candidate,), corpus="abc")
    )
    said = JudgedClaim(
        cue_id=candidate.cue_id, region_id="0.eye.0", polarity="artifact", sentence="The pupil is jagged.", confidence=0.7
    )  # fmt: skip
    judged = JudgmentMade(
        **retrieved.model_dump(),
        judgment=Judgment(
            status="ok", verdict="manipulated", confidence=0.7, observations=("a face",), claims=(said,), judge="lmm-1"
        ),
    )  # fmt: skip
    claim = Claim(
        **said.model_dump(), claim_id=f"{said.cue_id}@0.eye.0", verifier="clip", margins=(ScaleMargin(scale=1.0, margin=0.02),),
        z=2.1, specificity=1.4, placebos=(Placebo(kind="other_side", region_id="0.eye.1", cue_id=said.cue_id, z=0.7),),
        probability=0.8, status="supported", documents=("guo2022",),
    )  # fmt: skip
    made_by = Provenance(
        profile="mini", detector="yolo-1", encoder="clip-1", judge="lmm-1", corpus="abc", policy="p1", telltale="0.1.0",
        stages={"verify": "1"},
    )  # fmt: skip
    issued = VerdictIssued(
        **judged.model_dump(),
        verdict=Verdict(
            verdict="manipulated", probability=0.83, reliability=1.0, action="review", explanation="The left pupil.",
            claims=(claim,), provenance=made_by,
        ),
    )  # fmt: skip
    rejected = VerdictIssued(
        image_id="cat-2", uploaded_at=AT, upload_id=UPLOAD,
        verdict=Verdict(
            verdict="rejected", probability=None, reliability=None, action="tell_uploader", code="not_an_image",
            explanation="The bytes are no image.", provenance=Provenance(profile="mini", policy="p1", telltale="0.1.0"),
        ),
    )  # fmt: skip
    scores = MapScores(peak=0.9, neutral_peak=0.2, mass_in_region=0.6, rise=3.0)
    saliency = SaliencyMap(
        claim_id=claim.claim_id, region_id="0.eye.0", method="gradient", informative=True,
        picture=f"pictures/{VERDICT}/0.png", scores=scores,
    )  # fmt: skip
    explained = ExplanationReady(
        image_id="cat-1", uploaded_at=AT, upload_id=UPLOAD, verdict_id=VERDICT, sha256=SHA,
        explanation=Explanation(maps=(saliency,), overview=None, encoder="clip-1"),
    )  # fmt: skip
    return [upload, admitted, detected, retrieved, judged, issued, rejected, explained]
