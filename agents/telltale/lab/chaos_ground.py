"""Where chaos and soak run: servers, topics and stages of a run's own.

In: settings, which stages. Out: ``Ground``. A stack of its own under a folder of its own, unless the
settings name a Kafka; topics then have a prefix of their own, and are deleted. Raises what the stack
and the broker raise.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from telltale.app import STAGES, Wiring, connected
from telltale.delivery.kafka import confluent_options
from telltale.delivery.topics_admin import create_topics
from telltale.errors import UsageError
from telltale.events import (
    CuesRetrieved,
    Event,
    ImageAdmitted,
    ImageUploaded,
    JudgmentMade,
    RegionsDetected,
    VerdictIssued,
)
from telltale.lab.chaos_worker import STANDIN_ROUTE, StandIn
from telltale.lab.ledger import Hop
from telltale.settings import Settings
from telltale.stack import down, up
from telltale.stages.intake import STORED
from telltale.topics import ADMITTED, ISSUED, UPLOADED, Topic

Kind = Literal["standin", "real"]
Say = Callable[[str], object]
PICTURES = 16  # different pictures that the real stages are shown in turn


@dataclass(frozen=True)
class Ground:
    """All that a run needs to know of where it runs."""

    kind: Kind
    settings: Settings
    folder: Path
    route: tuple[Hop, ...]
    answers: Topic
    stages: tuple[str, ...]
    uris: tuple[str, ...]
    supervisor_pid: int | None  # of a stack of our own, whose broker may be hurt

    @property
    def run(self) -> str:
        """The name that this run's image ids begin with."""
        return self.settings.topic_prefix.rstrip(".")

    @property
    def variables(self) -> dict[str, str]:
        """What a worker needs in its environment."""
        given = self.settings
        found = {
            "TELLTALE_KAFKA_BOOTSTRAP": given.kafka_bootstrap,
            "TELLTALE_POSTGRES_DSN": given.postgres_dsn,
            "TELLTALE_REDIS_URL": given.redis_url,
            "TELLTALE_IMAGES_URL": given.images_url,
            "TELLTALE_TOPIC_PREFIX": given.topic_prefix,
            "TELLTALE_HOME": str(self.folder),
            "TELLTALE_WORKER_PORT": "0",
            "TELLTALE_LOG_FORMAT": "console",
            "OMP_NUM_THREADS": "1",  # several workers share this machine
        }
        return {name: value for name, value in found.items() if value is not None}

    def command(self, delay_s: float) -> list[str]:
        """How a worker is started."""
        module = [sys.executable, "-m", "telltale.lab.chaos_worker", self.kind]
        return [*module, "--delay-s", str(delay_s)]

    def upload(self, image_id: str, number: int) -> ImageUploaded:
        """The upload with that number."""
        uri = self.uris[number % len(self.uris)]
        return ImageUploaded(image_id=image_id, uploaded_at=datetime.now(UTC), uri=uri)


@contextmanager
def ground(
    settings: Settings, folder: Path, kind: Kind, partitions: int, say: Say
) -> Iterator[Ground]:
    """Servers and topics for the length of a block."""
    own = {"home": folder, "images_url": f"file://{folder / 'images'}"}
    settings = settings.model_copy(
        update=own | {"topic_prefix": f"lab{uuid4().hex[:8]}.", "kafka_partitions": partitions}
    )
    if kind == "standin" and settings.kafka_bootstrap is not None:
        yield from _with_topics(settings, folder, kind, None)
        return
    with ExitStack() as undo:
        undo.callback(down, folder)  # first: a start that is interrupted leaves nothing behind
        endpoints = up(folder, say)
        if endpoints.broker == "mock":
            raise UsageError(
                "Apache Kafka cannot be fetched here, and a stand-in for it proves nothing;"
                " set TELLTALE_KAFKA_BOOTSTRAP"
            )
        pid = endpoints.supervisor_pid if endpoints.broker == "kafka" else None
        yield from _with_topics(connected(settings), folder, kind, pid, say)


def _with_topics(
    settings: Settings, folder: Path, kind: Kind, pid: int | None, say: Say = print
) -> Iterator[Ground]:
    if kind == "standin":
        asyncio.run(create_topics(settings, (UPLOADED, ADMITTED, UPLOADED.dead, ADMITTED.dead)))
        made = Ground(
            kind, settings, folder, STANDIN_ROUTE, ADMITTED, (StandIn.name,),
            ("https://pictures.example/1",), pid,
        )  # fmt: skip
    else:
        made = _real(settings, folder, pid, say)
    try:
        yield made
    finally:
        if pid is None:
            _delete_topics(settings)


def _real(settings: Settings, folder: Path, pid: int | None, say: Say) -> Ground:
    from telltale.commands.preparing import prepare

    wiring = Wiring(settings)
    prepare(wiring, say)
    versions = wiring.stage_versions
    types: tuple[type[Event], ...] = (
        ImageAdmitted,
        RegionsDetected,
        CuesRetrieved,
        JudgmentMade,
        VerdictIssued,
    )
    route = tuple(
        Hop(stage, versions[stage], made.type_name)
        for stage, made in zip(("intake", "detect", "retrieve", "judge", "verify"), types, strict=True)
    )  # fmt: skip
    uris = tuple(STORED + wiring.blobs.put(picture) for picture in pictures())
    return Ground("real", settings, folder, route, ISSUED, STAGES, uris, pid)


def pictures() -> Iterator[bytes]:
    """Crops of a photograph that scikit-image carries, as PNG: different bytes, one face each."""
    from PIL import Image
    from skimage import data

    for n in range(PICTURES):
        out = io.BytesIO()
        Image.fromarray(data.astronaut()[4 * n : 300 + 4 * n, 80 : 380 + n]).save(out, "PNG")
        yield out.getvalue()


def broker_pid(supervisor_pid: int) -> int | None:
    """The process of the embedded broker now; None while it is away."""
    path = Path(f"/proc/{supervisor_pid}/task/{supervisor_pid}/children")
    for pid in map(int, path.read_text().split()):
        try:
            if b"kafka.Kafka" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        except OSError:
            continue  # it ended in between
    return None


def _delete_topics(settings: Settings) -> None:
    from confluent_kafka.admin import AdminClient

    client = AdminClient(confluent_options(settings))
    ours = [t for t in client.list_topics(timeout=15).topics if t.startswith(settings.topic_prefix)]
    if ours:
        for future in client.delete_topics(ours).values():
            future.result(30)


def scratch(home: Path) -> Path:
    """A folder for a run, which others may pass through: PostgreSQL refuses root's own."""
    folder = home / "lab" / f"run-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
