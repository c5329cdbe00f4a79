"""Send pictures into the stream: store the bytes, then say where they are.

In: files, folders, addresses. Out: ``ImageUploaded`` events, confirmed by the broker. One picture is
in memory at a time. Raises ``UsageError`` for a path that is not there, ``DependencyAway`` when the
broker or the image store does not take it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Producer

from telltale import topics
from telltale.delivery.kafka import confluent_options, topic_name
from telltale.errors import DependencyAway, UsageError
from telltale.events import Envelope, ImageUploaded, value_bytes
from telltale.settings import Settings
from telltale.stages.intake import STORED
from telltale.stages.reading import Blobs

# What a folder is searched for; a file named on the command line is sent whatever it is called.
SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".mpo"]
)
CONFIRM_S = 60.0


class Uploader:
    """Sends uploads; ``flush`` before believing that they were taken."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        self._topic = topic_name(settings, topics.UPLOADED.name)
        self._blobs = blobs
        self._failed: list[str] = []
        self._producer = Producer(
            {**confluent_options(settings), "enable.idempotence": True, "linger.ms": 5}
        )

    def send(self, source: str, data: bytes | None = None) -> ImageUploaded:
        """Queue one upload: an address, a file, or bytes under a name. Returns its event."""
        uri = source
        if data is not None or "://" not in source:
            content = data if data is not None else _read(Path(source))
            uri = STORED + self._blobs.put(content)
        event = ImageUploaded(image_id=_image_id(source), uploaded_at=datetime.now(UTC), uri=uri)
        envelope = Envelope(
            id=uuid4(), type=event.type_name, subject=event.image_id, time=event.uploaded_at,
            source="/telltale/submit", traceparent=f"00-{uuid4().hex}-{uuid4().hex[:16]}-01",
        )  # fmt: skip
        while True:
            try:
                self._producer.produce(
                    self._topic, value_bytes(event), event.image_id.encode(),
                    headers=envelope.headers(), on_delivery=self._confirmed,
                )  # fmt: skip
                break
            except BufferError:  # the queue is full: let some out
                self._producer.poll(0.5)
        self._producer.poll(0)
        self._check()
        return event

    def flush(self) -> None:
        """Wait until the broker has confirmed everything. Raises ``DependencyAway``."""
        left = self._producer.flush(CONFIRM_S)
        self._check()
        if left:
            raise DependencyAway("kafka", f"{left} uploads were not confirmed in {CONFIRM_S:g} s")

    def _confirmed(self, error: object, _: object) -> None:
        if error is not None:
            self._failed.append(str(error))

    def _check(self) -> None:
        if self._failed:
            raise DependencyAway("kafka", f"an upload was not taken: {self._failed[0]}")


def sources(given: Iterable[str]) -> Iterator[str]:
    """Files and addresses, folders opened depth first in the order of their names."""
    for source in given:
        if "://" in source:
            yield source
            continue
        path = Path(source)
        if path.is_dir():
            yield from _inside(path)
        elif path.exists():
            yield source
        else:
            raise UsageError(f"{source}: no such file or folder")


def _inside(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES:
                yield str(Path(root) / name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _image_id(source: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source.split("?")[0]).stem)[:60].strip("-")
    return f"{stem or 'image'}-{uuid4().hex[:8]}"
