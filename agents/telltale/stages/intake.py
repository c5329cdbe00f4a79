"""intake: from an address to admitted, stored, hashed bytes.

In: ``ImageUploaded``. Out: ``ImageAdmitted``, or a ``VerdictIssued`` that says ``rejected`` with a
code, so that nobody waits for an answer that never comes. Raises ``DependencyAway`` when the image
store, or the database where near duplicates are linked, does not answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import cast

from telltale import __version__
from telltale.errors import DependencyAway, Rejected
from telltale.events import (
    Event,
    Image,
    ImageAdmitted,
    ImageUploaded,
    Profile,
    Provenance,
    Verdict,
    VerdictIssued,
)  # fmt: skip
from telltale.fetching import FetchLimits, fetch
from telltale.pictures import Limits
from telltale.policy import PolicyFile
from telltale.stages.contract import Answered, Batch, Failed, Item, Need, Outcome, Stage
from telltale.stages.examining import Examiner
from telltale.stages.reading import Blobs

STORED = "telltale:sha256/"
FETCHES = 16  # under way at once, each at most the largest upload in memory

NearDuplicate = Callable[[ImageUploaded, str, int], VerdictIssued | None]
"""(upload, perceptual hash, bits) to the verdict on an earlier near duplicate."""


class Intake(Stage):
    """Fetches, checks, hashes and stores."""

    name = "intake"
    version = "1"
    reads: tuple[type[Event], ...] = (ImageUploaded,)

    def __init__(
        self,
        blobs: Blobs,
        fetch_limits: FetchLimits,
        limits: Limits,
        policy: PolicyFile,
        profile: Profile,
        near_duplicate: NearDuplicate | None = None,
    ) -> None:
        self._blobs, self._fetch, self._examiner = blobs, fetch_limits, Examiner(limits)
        self._policy, self._profile, self._near = policy, profile, near_duplicate
        self.batch = Batch(FETCHES, 0.01)
        self.needs: tuple[Need, ...] = ("image store", "picture decoder")
        if near_duplicate is not None and policy.current().near_duplicates == "link":
            self.needs += ("postgres",)
        self._pool = ThreadPoolExecutor(FETCHES, thread_name_prefix="intake")

    def open(self) -> None:
        """Nothing to load; decoding processes start with the first picture."""

    def process(self, items: Sequence[Item[Event]]) -> list[Outcome]:
        """One outcome an upload; all fetched side by side."""
        # with what is bound here, so that what is logged there says whose line it is
        contexts = [copy_context() for _ in items]
        return list(self._pool.map(lambda c, item: c.run(self._answer, item), contexts, items))

    def close(self) -> None:
        """End the fetching threads and the decoding processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._examiner.close()

    def _answer(self, item: Item[Event]) -> Outcome:
        upload = cast(ImageUploaded, item.event)
        try:
            data = self._bytes(upload.uri)
            image = self._admit(data)
        except Rejected as error:
            return Answered((self._rejection(item, upload, error),))
        except DependencyAway:
            raise
        except Exception as error:
            return Failed(error)
        policy = self._policy.current()
        if self._near is not None and policy.near_duplicates == "link":
            earlier = self._near(upload, image.phash, policy.near_duplicate_bits)
            if earlier is not None:
                return Answered((_linked(item, upload, image, earlier),))
        return Answered(
            (
                ImageAdmitted(
                    image_id=upload.image_id, uploaded_at=upload.uploaded_at,
                    upload_id=item.envelope.id, image=image, context=upload.context,
                    replay_id=_replay(item),
                ),
            )
        )  # fmt: skip

    def _bytes(self, uri: str) -> bytes:
        if not uri.startswith(STORED):
            return fetch(uri, self._fetch)
        wanted = uri.removeprefix(STORED)
        if len(wanted) != 64 or set(wanted) - set("0123456789abcdef"):
            raise Rejected("uri_unsupported", f"{STORED} is followed by 64 lower-case hex digits")
        if not self._blobs.exists(wanted):
            raise Rejected("blob_missing", f"the image store has no {wanted}")
        data = self._blobs.get(wanted)
        if len(data) > self._fetch.max_bytes:
            raise Rejected("too_large", f"{len(data)} bytes; at most {self._fetch.max_bytes}")
        if hashlib.sha256(data).hexdigest() != wanted:
            raise Rejected("hash_mismatch", f"the stored bytes are not those of {wanted}")
        return data

    def _admit(self, data: bytes) -> Image:
        found = self._examiner.examine(data)
        return Image(
            sha256=self._blobs.put(data), phash=found.phash, width_px=found.width_px,
            height_px=found.height_px, media_type=found.media_type, size_bytes=len(data),
        )  # fmt: skip

    def _rejection(
        self, item: Item[Event], upload: ImageUploaded, error: Rejected
    ) -> VerdictIssued:
        policy = self._policy.current()
        verdict = Verdict.model_validate(
            {
                "verdict": "rejected", "probability": None, "reliability": None,
                "action": policy.actions.get("rejected", "refuse"), "reasons": (error.code,),
                "explanation": str(error)[:500], "code": error.code,
                "provenance": Provenance(
                    profile=self._profile, policy=policy.version, telltale=__version__,
                    stages={self.name: self.version}, replay_id=_replay(item),
                ),
            }
        )  # fmt: skip
        return VerdictIssued(
            image_id=upload.image_id, uploaded_at=upload.uploaded_at, upload_id=item.envelope.id,
            context=upload.context, replay_id=_replay(item), verdict=verdict,
        )  # fmt: skip


def _linked(
    item: Item[Event], upload: ImageUploaded, image: Image, earlier: VerdictIssued
) -> VerdictIssued:
    verdict = earlier.verdict.model_copy(
        update={"reasons": (*earlier.verdict.reasons, "near_duplicate")}
    )
    return earlier.model_copy(
        update={
            "image_id": upload.image_id, "uploaded_at": upload.uploaded_at,
            "upload_id": item.envelope.id, "context": upload.context, "replay_id": _replay(item),
            "image": image.model_copy(update={"near_duplicate_of": earlier.image_id}),
            "verdict": verdict,
        }
    )  # fmt: skip


def _replay(item: Item[Event]) -> str | None:
    return cast(ImageUploaded, item.event).replay_id
