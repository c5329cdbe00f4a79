"""Every event, in one place; the published schemas come from here.

In: message bytes and headers. Out: typed events, and bytes and headers again. An event carries
the sections that earlier stages wrote, so any topic can be read on its own. Values hold no clock
reading of ours: the same input under the same versions gives the same bytes. Reading raises
``EventUnreadable``, naming the field. Unknown fields are ignored, so newer producers can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from telltale import topics
from telltale.errors import EventUnreadable
from telltale.regions import Region as RegionGeometry
from telltale.regions import RegionType

SCHEMA_VERSION = "1.0"
# uuid5 namespace of derived ids; never to change, or repeats would no longer be recognised
NAMESPACE = UUID("7e117a1e-0000-5000-8000-7e117a1e0001")
SOURCE = "/telltale"
# source of a replayed verdict made live together with its explanation, so that none is drawn again
PROMOTED = "/telltale/promote"

Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Profile = Literal["mini", "standard"]
VerdictLabel = Literal["manipulated", "authentic", "inconclusive", "rejected"]
JudgmentLabel = Literal["manipulated", "authentic", "inconclusive"]
Polarity = Literal["artifact", "natural"]
ClaimStatus = Literal["supported", "contradicted", "undecidable"]
Verifier = Literal["clip", "measure", "ask"]
RejectionCode = Literal[
    "uri_unsupported", "host_forbidden", "host_unresolvable", "fetch_failed", "fetch_timeout",
    "http_status", "too_large", "empty", "hash_mismatch", "blob_missing", "not_an_image",
    "format_unsupported", "truncated", "dimensions", "decompression_bomb", "decode_failed",
]  # fmt: skip


class _Model(BaseModel):
    # what we send holds every field, also those at their default: the published schemas say so
    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_serialization_defaults_required=True
    )


class Image(_Model):
    """The admitted picture: a reference to the stored bytes, never the bytes."""

    sha256: Sha256 = Field(
        description="SHA-256 of the uploaded bytes; the key they are stored under"
    )
    phash: str = Field(
        description="64-bit perceptual hash, 16 hex digits", pattern=r"^[0-9a-f]{16}$"
    )
    width_px: int = Field(gt=0, description="width of the upright picture, px")
    height_px: int = Field(gt=0, description="height of the upright picture, px")
    media_type: str = Field(description="media type found in the bytes, e.g. image/jpeg")
    size_bytes: int = Field(gt=0)
    near_duplicate_of: str | None = Field(None, description="image_id of an earlier near duplicate")


class Region(_Model):
    """A place in the picture where cues can be seen."""

    region_id: str = Field(description="'0.eye.1': second eye from the left of the first face")
    type: RegionType
    box_px: tuple[float, float, float, float] = Field(
        description="x0, y0, x1, y1 px, upright picture"
    )
    score: Unit = Field(description="the detector's confidence")
    face: int | None = None
    label: str | None = Field(None, description="class name of an object")
    embedding_keys: tuple[str, ...] = Field((), description="cache keys, one a scale (1.0, 1.6)")

    def geometry(self) -> RegionGeometry:
        """The same region for the functions of ``telltale.regions``."""
        return RegionGeometry(
            self.region_id, self.type, self.box_px, self.score, self.face, self.label
        )


class Detection(_Model):
    """What detect found, and which weights found it."""

    regions: tuple[Region, ...]
    faces_found: int = Field(ge=0, description="faces found, also those beyond the limit examined")
    detector: str = Field(description="revision of the detector weights")
    encoder: str = Field(description="revision of the encoder weights")


class Candidate(_Model):
    """A cue or counter-cue worth asking about, in one region."""

    cue_id: str
    region_id: str
    polarity: Polarity
    similarity: float = Field(ge=-1, le=1, description="cosine of region and cue embeddings")
    documents: tuple[str, ...] = Field((), description="ids of evidence documents")
    exemplars: tuple[str, ...] = Field((), description="ids of the nearest known examples")


class Retrieval(_Model):
    """Cues and counter-cues in balance, and which corpus they came from."""

    candidates: tuple[Candidate, ...]
    corpus: str = Field(description="revision of the cue corpus")


class JudgedClaim(_Model):
    """One claim of the multimodal model."""

    cue_id: str
    region_id: str
    polarity: Polarity
    sentence: str
    confidence: Unit


JudgmentStatus = Literal["ok", "unreadable", "late", "unavailable", "not_asked"]


class Judgment(_Model):
    """The multimodal model's answer, or why there is none."""

    status: JudgmentStatus
    reason: str | None = Field(None, description="why the status is not ok, in a sentence")
    verdict: JudgmentLabel = "inconclusive"
    confidence: Unit = 0.0
    observations: tuple[str, ...] = ()
    counter_evidence: tuple[str, ...] = ()
    claims: tuple[JudgedClaim, ...] = ()
    judge: str = Field(description="revision of the multimodal model, or its endpoint and name")


class ScaleMargin(_Model):
    """Similarity margin of a claim at one crop scale."""

    scale: float
    margin: float = Field(description="mean cosine to artifact minus natural paraphrases")


class Placebo(_Model):
    """The same test where the claim should not hold."""

    kind: Literal["wrong_region", "shuffled_claim", "other_side"]
    region_id: str
    cue_id: str
    z: float


class Claim(_Model):
    """A claim with everything needed to check it again offline."""

    claim_id: str = Field(description="'<cue_id>@<region_id>'")
    cue_id: str
    region_id: str
    polarity: Polarity
    sentence: str
    confidence: Unit = Field(description="what the multimodal model said")
    verifier: Verifier
    margins: tuple[ScaleMargin, ...] = ()
    measured: float | None = Field(None, description="value of the cue's measurement, its own unit")
    z: float | None = Field(None, description="margin against real regions of the type, in sd")
    specificity: float | None = Field(None, description="z minus the largest placebo z")
    placebos: tuple[Placebo, ...] = ()
    probability: Unit = Field(
        description="calibrated probability that the artifact is there, at even odds before looking"
    )
    status: ClaimStatus
    named: bool = Field(
        False,
        description="the verdict names the artifact: the judge claims it and it is likely enough by the policy",
    )
    documents: tuple[str, ...] = ()

    def would_be_named(self, named_from: float) -> bool:
        """Whether a verdict names the artifact where the policy's ``named_from`` is this, 0 to 1."""
        return self.polarity == "artifact" and self.probability >= named_from


class Provenance(_Model):
    """Which models, corpus and rules made a verdict."""

    profile: Profile
    detector: str | None = None
    encoder: str | None = None
    judge: str | None = None
    corpus: str | None = None
    calibration: str | None = None
    policy: str
    telltale: str
    stages: dict[str, str] = Field(default_factory=dict, description="stage name to version")
    replay_id: str | None = None


class Verdict(_Model):
    """The answer to one upload."""

    verdict: VerdictLabel
    probability: Unit | None = Field(
        description="calibrated probability of manipulation, at even odds before looking; null if rejected"
    )
    reliability: Unit | None = Field(description="share of claims supported; null without claims")
    action: str = Field(description="what the policy asks for, e.g. 'review'")
    reasons: tuple[str, ...] = Field((), description="codes, e.g. 'no_face', 'judge_unavailable'")
    explanation: str = Field(description="the verdict in a sentence")
    claims: tuple[Claim, ...] = ()
    code: RejectionCode | None = Field(None, description="why a rejected upload was refused")
    provenance: Provenance


class MapScores(_Model):
    """How far a saliency map rises over that of a neutral sentence."""

    peak: float
    neutral_peak: float
    mass_in_region: Unit
    rise: float = Field(description="peak over the neutral map's, in its standard deviations")
    deletion_drop: float | None = Field(
        None, description="margin lost when the top tenth is blurred"
    )


class SaliencyMap(_Model):
    """Where the evidence of a claim lies, or that the map says nothing."""

    claim_id: str
    region_id: str
    method: str
    informative: bool
    picture: str | None = Field(
        None, description="key of a JPEG in the image store; null if uninformative"
    )
    scores: MapScores


class Explanation(_Model):
    """Maps for the claims of a verdict."""

    maps: tuple[SaliencyMap, ...]
    overview: str | None = Field(None, description="key of a JPEG with regions and claims drawn in")
    encoder: str


class Event(_Model):
    """What every event has. ``type_name`` is the CloudEvents type; ``topic`` where it travels."""

    type_name: ClassVar[str]
    topic: ClassVar[str]

    version: str = Field(SCHEMA_VERSION, pattern=r"^1\.\d+$", description="schema version")
    image_id: str = Field(
        min_length=1, max_length=200, description="the uploader's id; message key"
    )
    uploaded_at: AwareDatetime = Field(description="when the uploader sent it (RFC 3339)")


class ImageUploaded(Event):
    """A platform asks for a verdict. The one event that others produce."""

    type_name = "telltale.image.uploaded.v1"
    topic = topics.UPLOADED.name
    uri: str = Field(
        min_length=1,
        max_length=4096,
        description="https: address, or telltale:sha256/<hash> in the store",
    )
    context: dict[str, str] = Field(default_factory=dict, description="carried along, never judged")
    replay_id: str | None = Field(None, description="set on events made by a replay")


class _Admitted(Event):
    upload_id: UUID = Field(description="id of the upload event that all this answers")
    image: Image
    context: dict[str, str] = Field(default_factory=dict)
    replay_id: str | None = Field(None, description="set on events made by a replay")


class ImageAdmitted(_Admitted):
    """Intake has fetched, checked, hashed and stored the bytes."""

    type_name = "telltale.image.admitted.v1"
    topic = topics.ADMITTED.name


class RegionsDetected(_Admitted):
    """Detect has found regions; their embeddings are in the cache."""

    type_name = "telltale.regions.detected.v1"
    topic = topics.DETECTED.name
    detection: Detection


class CuesRetrieved(_Admitted):
    """Retrieve has found the cues to ask about."""

    type_name = "telltale.cues.retrieved.v1"
    topic = topics.RETRIEVED.name
    detection: Detection
    retrieval: Retrieval


class JudgmentMade(_Admitted):
    """The multimodal model has answered, or could not."""

    type_name = "telltale.judgment.made.v1"
    topic = topics.JUDGED.name
    detection: Detection
    retrieval: Retrieval
    judgment: Judgment


class VerdictIssued(Event):
    """The answer. A rejected upload has no image, detection, retrieval or judgment."""

    type_name = "telltale.verdict.issued.v1"
    topic = topics.ISSUED.name
    upload_id: UUID
    context: dict[str, str] = Field(default_factory=dict)
    replay_id: str | None = None
    image: Image | None = None
    detection: Detection | None = None
    retrieval: Retrieval | None = None
    judgment: Judgment | None = None
    verdict: Verdict


class ExplanationReady(Event):
    """The maps of one verdict are drawn."""

    type_name = "telltale.explanation.ready.v1"
    topic = topics.EXPLAINED.name
    upload_id: UUID
    verdict_id: UUID = Field(description="event id of the verdict explained")
    replay_id: str | None = None
    sha256: Sha256
    explanation: Explanation


EVENTS: tuple[type[Event], ...] = (
    ImageUploaded, ImageAdmitted, RegionsDetected, CuesRetrieved,
    JudgmentMade, VerdictIssued, ExplanationReady,
)  # fmt: skip
BY_TOPIC: dict[str, type[Event]] = {e.topic: e for e in EVENTS}

Headers = tuple[tuple[str, bytes], ...]


class Envelope(_Model):
    """CloudEvents 1.0 attributes of a message, in Kafka's binary content mode."""

    id: UUID
    type: str
    source: str = SOURCE
    subject: str
    time: AwareDatetime
    traceparent: str | None = None
    tracestate: str | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """The message headers, in a fixed order."""
        pairs = {
            "ce_specversion": "1.0",
            "ce_id": str(self.id),
            "ce_type": self.type,
            "ce_source": self.source,
            "ce_subject": self.subject,
            "ce_time": self.time.isoformat().replace("+00:00", "Z"),
            "content-type": "application/json",
            "traceparent": self.traceparent,
            "tracestate": self.tracestate,
        }
        return [(k, v.encode()) for k, v in pairs.items() if v is not None]

    @classmethod
    def child(cls, parent: Envelope, event: Event, stage: str, version: str, now: datetime) -> Self:
        """The envelope of what ``stage`` made of ``parent``: its id is derived, so a repeat
        carries the id of its original. ``event.replay_id`` sets a replay's events apart."""
        replay = getattr(event, "replay_id", None)
        return cls(
            id=derived_id(parent.id, stage, version, replay, event.type_name),
            type=event.type_name,
            subject=event.image_id,
            time=now,
            traceparent=parent.traceparent,
            tracestate=parent.tracestate,
        )


def derived_id(parent: UUID, stage: str, version: str, replay: str | None, type_name: str) -> UUID:
    """uuid5 of parent id, stage, stage version, replay id and event type."""
    return uuid5(NAMESPACE, "\n".join((str(parent), stage, version, replay or "", type_name)))


def value_bytes(event: Event) -> bytes:
    """The event's JSON value as UTF-8 bytes, fields in the order of their definition."""
    return event.model_dump_json().encode()


def read_value(topic: str, value: bytes | None) -> Event:
    """The event in a message of that topic. Raises ``EventUnreadable`` naming the field."""
    if value is None:
        raise EventUnreadable("value", "is empty; send the event as JSON")
    try:
        return BY_TOPIC[topic].model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"]) or "value"
        raise EventUnreadable(where, first["msg"]) from error


def read_headers(headers: Mapping[str, bytes], value: bytes, event: Event) -> Envelope:
    """The CloudEvents attributes of a message.

    A message without ``ce_id`` gets one derived from its bytes, so that a repeat of the same
    bytes is still recognised. Raises ``EventUnreadable`` for a header that is present and wrong.
    """
    text: dict[str, str] = {}
    for name, raw in headers.items():
        try:
            text[name] = raw.decode()
        except UnicodeDecodeError as error:
            if name.startswith("ce_"):
                raise EventUnreadable(f"header {name}", "is not UTF-8") from error
    if (spec := text.get("ce_specversion", "1.0")) != "1.0":
        raise EventUnreadable("header ce_specversion", f"is {spec!r}; only '1.0' can be read")
    if (kind := text.get("ce_type", event.type_name)) != event.type_name:
        raise EventUnreadable("header ce_type", f"is {kind!r}; expected {event.type_name!r}")
    return Envelope(
        id=_event_id(text.get("ce_id"), value),
        type=event.type_name,
        source=text.get("ce_source", SOURCE),
        subject=event.image_id,
        time=_time(text.get("ce_time"), event),
        traceparent=text.get("traceparent"),
        tracestate=text.get("tracestate"),
    )


def _event_id(given: str | None, value: bytes) -> UUID:
    if not given:
        return uuid5(NAMESPACE, value.decode(errors="replace"))
    try:
        return UUID(given)
    except ValueError:
        # CloudEvents allows any string as id; the same string gives the same UUID
        return uuid5(NAMESPACE, given)


def _time(given: str | None, event: Event) -> datetime:
    if given is None:
        return event.uploaded_at
    try:
        time = datetime.fromisoformat(given)
    except ValueError as error:
        raise EventUnreadable("header ce_time", f"{given!r} is not an RFC 3339 time") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
