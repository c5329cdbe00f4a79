"""How a stage gets the pixels of an admitted picture.

In: a content hash. Out: upright sRGB pixels (H x W x 3 uint8), from a small cache shared by the
stages of one process. Raises ``DependencyAway`` when the store is away and ``EventFailed`` when
the bytes are gone, naming the hash.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from telltale.errors import EventFailed, Rejected
from telltale.pictures import decode
from telltale.regions import Pixels


class Blobs(Protocol):
    """Uploaded bytes by their SHA-256, and pictures we drew, by key."""

    def put(self, data: bytes) -> str: ...

    def get(self, sha256: str) -> bytes: ...

    def exists(self, sha256: str) -> bool: ...

    def put_picture(self, key: str, data: bytes) -> None: ...


class PictureReader:
    """Decoded pictures by content hash; the last few are kept (least recently used leaves)."""

    def __init__(self, blobs: Blobs, keep_bytes: int = 256 * 1024 * 1024) -> None:
        self._blobs = blobs
        self._keep_bytes = keep_bytes
        self._kept: OrderedDict[str, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def pixels(self, sha256: str) -> Pixels:
        """H x W x 3 uint8; treat as read-only, others hold the same array."""
        with self._lock:
            if (known := self._kept.get(sha256)) is not None:
                self._kept.move_to_end(sha256)
                return known
        data = self._blobs.get(sha256)
        try:
            pixels = decode(data)
        except Rejected as error:
            raise EventFailed(
                f"picture {sha256}: admitted bytes no longer decode: {error}"
            ) from error
        with self._lock:
            self._kept[sha256] = pixels
            while (
                sum(p.nbytes for p in self._kept.values()) > self._keep_bytes
                and len(self._kept) > 1
            ):
                self._kept.popitem(last=False)
        return pixels
