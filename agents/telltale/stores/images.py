"""Uploaded bytes by content hash, and the pictures drawn about them, through fsspec.

In: bytes. Out: their SHA-256; bytes again. A directory by default, S3 by URL. Writing the same again
changes nothing. Raises ``EventFailed`` for a blob that is not there, ``DependencyAway`` when the
store does not answer, ``UsageError`` for a URL that fsspec cannot open.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import fsspec

from telltale.errors import DependencyAway, EventFailed, UsageError

DRIVERS = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "azure", "adlfs")


class ImageStore:
    """Blobs under ``blobs/ab/cd/<sha256>``, drawn pictures under their own keys."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        try:
            self._files, root = fsspec.core.url_to_fs(url, **options)
        except (ImportError, ValueError, TypeError) as error:
            raise UsageError(f"TELLTALE_IMAGES_URL {url}: {error}") from error
        self._root = str(root).rstrip("/")
        self._local = "file" in self._protocols

    def put(self, data: bytes) -> str:
        """Keep bytes; returns their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._blob(sha256)
        with self._answering():
            if not self._files.exists(path):
                self._write(path, data)
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes of that hash. Raises ``EventFailed`` when they are not there."""
        return self._read(self._blob(sha256))

    def exists(self, sha256: str) -> bool:
        """Whether the bytes are there."""
        with self._answering():
            return bool(self._files.exists(self._blob(sha256)))

    def put_picture(self, key: str, data: bytes) -> None:
        """Keep a drawn picture; the same key is written over by the same drawing."""
        with self._answering():
            self._write(self._picture(key), data)

    def get_picture(self, key: str) -> bytes:
        """The bytes of a drawn picture. Raises ``EventFailed`` when it is not there."""
        return self._read(self._picture(key))

    def picture_path(self, key: str) -> str:
        """Where a person finds a picture: a file, or an address of the store."""
        path = self._picture(key)
        return path if self._local else str(self._files.unstrip_protocol(path))

    @property
    def _protocols(self) -> tuple[str, ...]:
        protocol = self._files.protocol
        return (protocol,) if isinstance(protocol, str) else tuple(protocol)

    def _blob(self, sha256: str) -> str:
        return f"{self._root}/blobs/{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def _picture(self, key: str) -> str:
        """Keys come in events, which others might write: they may not lead out of the store."""
        if key.startswith("/") or "\\" in key or any(p in ("", ".", "..") for p in key.split("/")):
            raise EventFailed(f"{key!r} is no key of a picture")
        return f"{self._root}/{key}"

    def _read(self, path: str) -> bytes:
        with self._answering():
            try:
                data: bytes = self._files.cat_file(path)
            except FileNotFoundError as error:
                raise EventFailed(f"the image store has no {path}") from error
        return data

    def _write(self, path: str, data: bytes) -> None:
        if not self._local:
            self._files.pipe_file(path, data)  # an object appears whole or not at all
            return
        self._files.makedirs(str(Path(path).parent), exist_ok=True)
        fresh = f"{path}.{uuid4().hex}"
        try:
            with Path(fresh).open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            Path(fresh).replace(path)
        except OSError:
            Path(fresh).unlink(missing_ok=True)  # a full disk is not helped by half a file
            raise

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, EventFailed):
            raise
        except Exception as error:
            # drivers raise errors of their own, botocore's among them, that are no OSError
            if (
                not isinstance(error, OSError)
                and type(error).__module__.split(".")[0] not in DRIVERS
            ):
                raise
            raise DependencyAway("image store", f"{self._root}: {error}") from error
