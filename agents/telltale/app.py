"""Wires everything: settings in, stages and stores out. Nothing happens on import.

Each part is made when first asked for, and once: a worker of one stage loads only what that stage
needs. Raises ``UsageError`` for a server that is neither running here nor named in the settings, and
``WeightsMissing`` for weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

from telltale.cues import Cue, load_cues, load_documents
from telltale.errors import UsageError
from telltale.events import ImageUploaded, VerdictIssued
from telltale.fetching import FetchLimits
from telltale.models import Detector, Encoder, Explainer, Judge
from telltale.models.files import mini_encoder_revision, mini_folder
from telltale.pictures import Limits
from telltale.policy import PolicyFile
from telltale.policy.calibration import Calibration, load_calibration
from telltale.settings import Settings
from telltale.stack import Endpoints, read_endpoints
from telltale.stages.claims import ClaimChecker
from telltale.stages.contract import Batch, Stage
from telltale.stages.detect import Detect
from telltale.stages.embedding import RegionEmbedder
from telltale.stages.explain import Explain
from telltale.stages.intake import Intake
from telltale.stages.judge import JudgeStage
from telltale.stages.reading import PictureReader
from telltale.stages.record import Record
from telltale.stages.retrieve import Retrieve
from telltale.stages.verify import Verify
from telltale.stores.cues import CueStore
from telltale.stores.embeddings import EmbeddingCache
from telltale.stores.images import ImageStore
from telltale.stores.verdicts import VerdictStore

if TYPE_CHECKING:
    from telltale.models.clip import ClipEncoder

GPU_BATCH = 16
# on a CPU a batch computes no faster than its events one by one, and a worker hands its partitions over
# only when the batch at work is done (docs/faults.md)
CPU_BATCH, CPU_JUDGED = 4, 2

STAGES = ("intake", "detect", "retrieve", "judge", "verify", "explain", "record")


Server = Literal["kafka_bootstrap", "postgres_dsn", "redis_url"]


def connected(settings: Settings, *needed: Server) -> Settings:
    """The settings with the embedded stack's endpoints where none were given.

    ``needed`` names the servers that are used; unset means all. Raises ``UsageError`` when one of them
    is neither named nor running here.
    """
    missing = [name for name in needed or get_args(Server) if not getattr(settings, name)]
    if not missing:
        return settings
    endpoints = read_endpoints(settings.home)
    if endpoints is None:
        variables = ", ".join(f"TELLTALE_{name.upper()}" for name in missing)
        raise UsageError(
            f"no servers run under {settings.home}; start them with 'telltale up' or set {variables}"
        )
    return settings.model_copy(
        update={
            "kafka_bootstrap": settings.kafka_bootstrap or endpoints.kafka_bootstrap,
            "postgres_dsn": settings.postgres_dsn or endpoints.postgres_dsn,
            "redis_url": settings.redis_url or endpoints.redis_url,
        }
    )


class Wiring:
    """Everything, made on demand."""

    def __init__(self, settings: Settings) -> None:
        self.given = settings

    @cached_property
    def settings(self) -> Settings:
        """Connected settings."""
        return connected(self.given)

    @cached_property
    def endpoints(self) -> Endpoints | None:
        """The embedded stack, if it runs here."""
        return read_endpoints(self.given.home)

    @property
    def postgres_dsn(self) -> str:
        """Where PostgreSQL is."""
        assert self.settings.postgres_dsn is not None  # connected
        return self.settings.postgres_dsn

    @cached_property
    def blobs(self) -> ImageStore:
        """The image store."""
        return ImageStore(self.given.images_root, self.given.images_options)

    @cached_property
    def reader(self) -> PictureReader:
        """Decoded pictures, shared by the stages of this process."""
        return PictureReader(self.blobs)

    @cached_property
    def cues(self) -> dict[str, Cue]:
        """The cue corpus by id."""
        return {c.cue_id: c for c in load_cues(self.given.cues_dir)}

    @cached_property
    def policy(self) -> PolicyFile:
        """Thresholds and actions."""
        return PolicyFile(self.given.policy_file)

    @cached_property
    def detector(self) -> Detector:
        """YOLO."""
        from telltale.models.yolo import load_detector

        self._use_threads()
        return load_detector(self.given)

    @cached_property
    def encoder(self) -> Encoder:
        """CLIP."""
        return self._clip

    @cached_property
    def _clip(self) -> ClipEncoder:
        from telltale.models.clip import load_encoder

        self._use_threads()
        return load_encoder(self.given)

    @cached_property
    def judge(self) -> Judge:
        """The multimodal model, in process or at an endpoint."""
        if self._judges_elsewhere:
            # torch and transformers take long to load, and nobody would use them
            from telltale.models.lmm_endpoint import EndpointJudge

            return EndpointJudge.of(self.given)
        from telltale.models.lmm import load_judge

        self._use_threads()
        return load_judge(self.given)

    def _use_threads(self) -> None:
        from telltale.models.devices import use_threads

        use_threads(self.given.threads)

    @cached_property
    def explainer(self) -> Explainer:
        """Saliency over the encoder's image tower."""
        from telltale.models.cam import ClipExplainer

        return ClipExplainer(self._clip)

    @cached_property
    def embedder(self) -> RegionEmbedder:
        """Region embeddings, cached in Redis."""
        assert self.settings.redis_url is not None  # connected
        cache = EmbeddingCache(
            self.settings.redis_url, self.given.embeddings_ttl_s, self.given.redis_timeout_s
        )
        return RegionEmbedder(self.encoder, cache, self.reader)

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration made for this encoder, or None; the verdicts then say 'uncalibrated'."""
        default = (
            mini_folder() / "calibration.json"
            if self.given.profile == "mini"
            else self.given.home / "calibration.json"
        )
        found = load_calibration(self.given.calibration_file or default)
        return found if found and found.encoder == self.encoder.revision else None

    @cached_property
    def checker(self) -> ClaimChecker:
        """Checks claims with this encoder and its calibration."""
        return ClaimChecker(self.encoder, list(self.cues.values()), self.calibration)

    @cached_property
    def cue_store(self) -> CueStore:
        """Cues and exemplars in PostgreSQL."""
        return CueStore(self.postgres_dsn)

    @cached_property
    def verdict_store(self) -> VerdictStore:
        """Verdicts in PostgreSQL."""
        return VerdictStore(self.postgres_dsn)

    def load_cues(self) -> bool:
        """Bring the cue table up to the corpus and encoder in use; whether anything changed."""
        cues, documents = list(self.cues.values()), load_documents(self.given.cues_dir)
        # asked by name first: loading the encoder takes longer than all the rest
        revision = mini_encoder_revision() if self.given.profile == "mini" else None
        if revision is not None and self.cue_store.holds(revision, cues, documents):
            return False
        return self.cue_store.load(cues, documents, self.encoder)

    def stage(self, name: str) -> Stage:
        """One stage by its name. Raises ``UsageError`` for a name that is none."""
        makers: dict[str, Callable[[], Stage]] = {
            "intake": self._intake,
            "detect": lambda: Detect(
                self.detector, self.embedder, self.reader, self.policy, self._batch
            ),
            "retrieve": self._retrieve,
            # as many at once as are asked at once: a full GPU batch would only wait for its slowest
            "judge": lambda: JudgeStage(
                self.judge,
                self.cues,
                self.reader,
                Batch(self._asked, self._wait_s),
                self.given.language,
            ),
            "verify": self.verify,
            "explain": lambda: Explain(
                self.explainer, self.encoder, self.cues, self.reader, self.blobs, self.policy
            ),
            "record": lambda: Record(self.verdict_store, self.given.topic_prefix),
        }
        if name not in makers:
            raise UsageError(f"no stage {name!r}; the stages are {', '.join(STAGES)}")
        return makers[name]()

    def verify(self) -> Verify:
        """The stage that checks claims; asks the judge again only for cues that need it."""
        return Verify(
            self.checker, self.embedder, self.reader, self.cues, self.policy, self.given.profile,
            self._batch, self.stage_versions, self.judge,
        )  # fmt: skip

    @property
    def stage_versions(self) -> dict[str, str]:
        """Version of every stage, as a verdict names them."""
        kinds = (Intake, Detect, Retrieve, JudgeStage, Verify)
        return {k.name: k.version for k in kinds}

    @property
    def _batch(self) -> Batch:
        most = self.given.batch_events or (CPU_BATCH if self._on_cpu else GPU_BATCH)
        return Batch(most, self._wait_s)

    @property
    def _wait_s(self) -> float:
        return self.given.batch_wait_ms / 1000

    @property
    def _asked(self) -> int:
        """How many pictures are judged at once."""
        asked = self.given.judge_concurrency
        return asked if self._judges_elsewhere or not self._on_cpu else min(asked, CPU_JUDGED)

    @cached_property
    def _on_cpu(self) -> bool:
        from telltale.models.devices import chosen_device

        return chosen_device(self.given.device) == "cpu"

    @property
    def _judges_elsewhere(self) -> bool:
        return self.given.profile == "standard" and bool(self.given.judge_endpoint)

    def _intake(self) -> Stage:
        given = self.given
        fetch = FetchLimits(
            given.fetch_schemes, given.fetch_allow_hosts, given.fetch_timeout_s,
            given.fetch_max_bytes, given.fetch_max_redirects,
        )  # fmt: skip
        limits = Limits(given.image_max_px, given.image_max_side_px, given.image_min_side_px)
        return Intake(self.blobs, fetch, limits, self.policy, given.profile, self._near_duplicate)

    def _near_duplicate(self, upload: ImageUploaded, phash: str, bits: int) -> VerdictIssued | None:
        return self.verdict_store.near_duplicate(phash, bits, before=upload.uploaded_at)

    def _retrieve(self) -> Stage:
        return Retrieve(
            self.cue_store, self.embedder, self.cues, self.policy, self._batch, self.checker
        )


def build_stages(settings: Settings, names: Sequence[str] = STAGES) -> list[Stage]:
    """The stages of a worker, sharing what they can."""
    wiring = Wiring(settings)
    return [wiring.stage(name) for name in names]


def build_encoder(settings: Settings) -> Encoder:
    """The encoder of the profile in use."""
    return Wiring(settings).encoder
