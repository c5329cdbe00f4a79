"""Every option of the product, in one documented class.

In: environment variables ``TELLTALE_<NAME>`` (and a ``.env`` file). Out: a frozen ``Settings``.
Raises ``UsageError`` with the variable's name for a value that cannot be. Nothing is read on import.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from telltale.errors import UsageError


def default_home() -> Path:
    """Where the embedded stack and the pictures live unless TELLTALE_HOME says otherwise."""
    try:
        return Path.home() / ".local" / "share" / "telltale"
    except RuntimeError:  # no home directory, e.g. a bare container user
        return Path(tempfile.gettempdir()) / "telltale"


class Settings(BaseSettings):
    """All options; each is the environment variable ``TELLTALE_`` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="TELLTALE_", env_file=".env", extra="ignore", frozen=True
    )

    home: Path = Field(
        default_factory=default_home,
        description="directory of the embedded stack, its data and its logs",
    )
    profile: Literal["mini", "standard"] = Field(
        "mini",
        description="model profile: mini (weights inside the package) or standard (weights from hubs or folders)",
    )

    kafka_bootstrap: str | None = Field(
        None,
        description="host:port[,host:port] of a Kafka that already runs; unset means the embedded one",
    )
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="security protocol towards Kafka"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, used with SASL_*"
    )
    kafka_username: str | None = Field(None, description="SASL user name")
    kafka_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ca_file: Path | None = Field(
        None, description="PEM file of certificate authorities for TLS; unset means the system's"
    )
    kafka_cert_file: Path | None = Field(
        None, description="PEM file of the client certificate for TLS"
    )
    kafka_key_file: Path | None = Field(None, description="PEM file of the client key for TLS")
    kafka_partitions: int = Field(
        12,
        ge=1,
        description="partitions of a topic that 'topics create' makes; the most workers a stage can use",
    )
    kafka_replication: int = Field(
        1,
        ge=1,
        description="replication factor of topics that 'topics create' makes; 3 on a real cluster",
    )
    topic_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="put before every topic and group name, to share a cluster",
    )

    postgres_dsn: str | None = Field(
        None,
        description="postgresql://... of a PostgreSQL with pgvector; unset means the embedded one",
    )
    redis_url: str | None = Field(
        None,
        description="redis:// or rediss://... for cached embeddings; unset means the embedded one",
    )
    embeddings_ttl_s: int = Field(
        7 * 24 * 3600, ge=60, description="how long a cached embedding is kept, seconds"
    )
    redis_timeout_s: float = Field(
        0.5, gt=0, description="how long the cache may take before it is done without, seconds"
    )
    images_url: str | None = Field(
        None,
        description="fsspec URL of the image store, e.g. s3://bucket/prefix; unset means <home>/images",
    )
    images_options: dict[str, str] = Field(
        default_factory=dict, description="JSON object of options for that store, e.g. endpoint_url"
    )

    fetch_schemes: tuple[str, ...] = Field(
        ("https", "http"), description="URI schemes that intake may fetch"
    )
    fetch_allow_hosts: tuple[str, ...] = Field(
        (), description="host names or CIDR ranges fetched although private, e.g. an internal CDN"
    )
    fetch_timeout_s: float = Field(
        10.0, gt=0, description="longest time for one fetch from connection to last byte, seconds"
    )
    fetch_max_bytes: int = Field(
        25 * 1024 * 1024, gt=0, description="largest upload accepted, bytes"
    )
    fetch_max_redirects: int = Field(
        3, ge=0, description="redirects followed, each checked like the first address"
    )
    image_max_px: int = Field(
        50_000_000, gt=0, description="largest picture decoded, width times height"
    )
    image_max_side_px: int = Field(16_384, gt=0, description="longest side accepted, px")
    image_min_side_px: int = Field(16, gt=0, description="shortest side accepted, px")

    device: str = Field("auto", description="torch device: auto, cpu, cuda, cuda:1")
    threads: int = Field(
        0,
        ge=0,
        description="torch threads of a worker; 0 leaves it to torch, which takes every core",
    )
    weights_dir: Path | None = Field(
        None,
        description="folder of weights for the standard profile, one subfolder a model id ('/' as '--')",
    )
    detector_weights: tuple[str, ...] = Field(
        ("yolo11n-face.pt", "yolo11n.pt"),
        description="standard profile: YOLO weights, files or hub ids (owner/repository/file.pt); the first finds faces",
    )
    encoder_model: str = Field(
        "ViT-B-32",
        description="standard profile: open_clip model name, folder, hf-hub:... or local-dir:...",
    )
    encoder_weights: str = Field(
        "laion2b_s34b_b79k", description="standard profile: open_clip tag or file of weights"
    )
    judge_model: str = Field(
        "llava-hf/llava-1.5-7b-hf",
        description="standard profile: image-text-to-text model id or folder, or the model name at the endpoint",
    )
    judge_endpoint: str | None = Field(
        None, description="OpenAI-compatible base URL ending in /v1; unset means in process"
    )
    judge_api_key: SecretStr | None = Field(None, description="bearer token for that endpoint")
    judge_timeout_s: float = Field(60.0, gt=0, description="longest time for one judgment, seconds")
    judge_attempts: int = Field(
        3,
        ge=1,
        description="times a judgment is asked for before 'inconclusive': unreadable ones anywhere, late and refused ones at an endpoint",
    )
    judge_max_tokens: int = Field(700, ge=64, description="longest answer of the judge, tokens")
    judge_concurrency: int = Field(
        4,
        ge=1,
        description="questions under way at once at the endpoint, or in one batch on a GPU; on a CPU at most 2",
    )
    language: Literal["en", "ko"] = Field("en", description="language of claims and explanations")
    allow_download: bool = Field(
        True, description="standard profile: fetch missing weights from the hub; false asks no host"
    )

    batch_events: int | None = Field(
        None,
        ge=1,
        description="most events in one batch of detect, retrieve and verify; unset: 16, on a CPU 4",
    )
    batch_wait_ms: float = Field(
        20.0, ge=0, description="longest wait for a batch to fill, milliseconds"
    )
    attempts: int = Field(
        3,
        ge=1,
        description="times an event that fails by itself is tried before it is dead; one that kills its worker is tried so often alone, after two deaths in its place",
    )
    flood_last: int = Field(
        100,
        ge=5,
        le=10_000,
        description="how many of the last events a flood of dead letters is told by",
    )
    flood_share: float = Field(
        0.5, gt=0, lt=1, description="share of them beyond which a stage pauses with an alarm"
    )
    stuck_s: float = Field(
        300.0,
        gt=0,
        description="with events waiting and none finished, or outside its consumer group, for this long, a worker exits to be restarted, seconds",
    )
    session_timeout_s: float = Field(
        6.0,
        ge=6.0,
        le=60.0,
        description="silence after which Kafka gives a dead worker's partitions to others, seconds",
    )
    rebalance_timeout_s: float = Field(
        60.0,
        ge=6.0,
        le=600.0,
        description="longest that the workers of a stage wait for one of them to finish its batch when partitions move; longer than the longest batch, or that batch is done twice, seconds",
    )
    max_poll_interval_s: float = Field(
        4 * 3600,
        gt=0,
        description="longest pause between polls before Kafka drops a worker, seconds",
    )
    worker_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of a worker's /metrics, /healthz and /readyz; 0 takes a free one",
    )
    worker_host: str = Field(
        "127.0.0.1",
        description="address that a worker's pages listen on; 0.0.0.0 in a container, so that Prometheus reaches them",
    )
    policy_file: Path | None = Field(
        None,
        description="YAML of thresholds and actions, reread when it changes; unset means the shipped one",
    )
    calibration_file: Path | None = Field(
        None,
        description="calibration made by 'telltale lab calibrate'; unset means the shipped one (mini) or <home>/calibration.json",
    )
    cues_dir: Path | None = Field(
        None, description="folder of cue YAML files; unset means the shipped ones"
    )
    log_format: Literal["console", "json"] = Field("console", description="form of log lines")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least severity logged"
    )
    otlp_endpoint: str | None = Field(
        None,
        description="OTLP/HTTP address for traces, e.g. http://collector:4318/v1/traces; unset means none are sent",
    )

    @property
    def images_root(self) -> str:
        """fsspec URL of the image store."""
        return self.images_url or f"file://{self.home / 'images'}"


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with overrides. Raises ``UsageError`` naming the variable."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        field = Settings.model_fields.get(name)
        meant = f" ({field.description})" if field else ""
        raise UsageError(f"TELLTALE_{name.upper()}: {first['msg']}{meant}") from error
    except Exception as error:
        if "error parsing value" in str(error):  # pydantic-settings: JSON expected, not found
            raise UsageError(f"{error}; write lists and objects as JSON") from error
        raise
