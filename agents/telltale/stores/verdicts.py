"""Verdicts, claims and explanations in PostgreSQL, for people to query.

In: events with their ids. Out: rows, once an id however often it comes, in whatever order. Raises
``DependencyAway`` when the server does not answer.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from telltale.events import ExplanationReady, VerdictIssued, VerdictLabel
from telltale.stores.database import Connection, Database

# Near duplicates are looked for among this many most recent uploads: a hash cannot be searched by an
# ordinary index, so that each is compared. Reposts come soon after.
RECENT = 100_000


@dataclass(frozen=True)
class Recorded:
    """A verdict as it was kept, and its explanation if that has come.

    ``shadow``: it comes from a replay's own topics and was never made live.
    """

    verdict_id: UUID
    verdict: VerdictIssued
    recorded_at: datetime
    explanation: ExplanationReady | None
    shadow: bool = False


class VerdictStore:
    """Upserts by event id, and the queries of people."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn)

    def put(
        self,
        verdicts: Sequence[tuple[UUID, VerdictIssued]],
        explanations: Sequence[tuple[UUID, ExplanationReady]],
        shadow: Container[UUID] = frozenset(),
    ) -> None:
        """Keep a batch in one transaction; what is there already stays as it is.

        ``shadow``: ids of verdicts that are not live. One of them that comes again as a live one
        counts as recorded then.
        """
        with self._database.connection() as db, db.pipeline():
            for verdict_id, event in verdicts:
                _put_verdict(db, verdict_id, event, verdict_id in shadow)
            for explanation_id, explanation in explanations:
                db.execute(
                    "INSERT INTO explanations (explanation_id, verdict_id, image_id, event)"
                    " VALUES (%s, %s, %s, %s) ON CONFLICT (explanation_id) DO NOTHING",
                    (
                        explanation_id,
                        explanation.verdict_id,
                        _storable(explanation.image_id),
                        _json(explanation),
                    ),
                )

    def of_image(self, image_id: str) -> list[Recorded]:
        """All verdicts on an image: the one that holds, those it replaced, those in a shadow.

        Each kind newest first; replays among them carry their replay id.
        """
        return self._select(
            "v.image_id = %s ORDER BY v.shadow, v.recorded_at DESC", (_storable(image_id),)
        )

    def latest(
        self, count: int, since: datetime | None = None, verdict: VerdictLabel | None = None
    ) -> list[Recorded]:
        """The most recent live verdicts, newest first; recorded from ``since``, saying ``verdict``."""
        where = [("v.recorded_at >= %s", since), ("v.verdict = %s", verdict)]
        asked = [(text, value) for text, value in where if value is not None]
        text = " AND ".join(["NOT v.shadow", *(t for t, _ in asked)])
        return self._select(
            f"{text} ORDER BY v.recorded_at DESC LIMIT %s", (*(v for _, v in asked), count)
        )

    def near_duplicate(self, phash: str, bits: int, before: datetime) -> VerdictIssued | None:
        """The live verdict on the nearest picture uploaded earlier, if within ``bits``.

        Looks at the last 100,000 uploads. The nearest first, then the earliest, then the verdict
        on it that holds.
        """
        with self._database.connection() as db:
            row = db.execute(
                "SELECT event FROM (SELECT event, phash, uploaded_at, recorded_at FROM verdicts"
                " WHERE phash IS NOT NULL AND NOT shadow AND uploaded_at < %s"
                " ORDER BY uploaded_at DESC LIMIT %s) AS recent"
                " WHERE bit_count(phash # %s::bit(64)) <= %s"
                " ORDER BY bit_count(phash # %s::bit(64)), uploaded_at, recorded_at DESC LIMIT 1",
                (before, RECENT, _bits(phash), bits, _bits(phash)),
            ).fetchone()
        return VerdictIssued.model_validate(row[0]) if row else None

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Recorded]:
        query = (
            "SELECT v.verdict_id, v.event, v.recorded_at, v.shadow,"
            " (SELECT event FROM explanations AS e"
            " WHERE e.verdict_id = v.verdict_id ORDER BY e.recorded_at DESC LIMIT 1)"
            f" FROM verdicts AS v WHERE {where}"
        )
        with self._database.connection() as db:
            rows = db.execute(query, values).fetchall()  # the text is fixed above
        return [
            Recorded(
                i,
                VerdictIssued.model_validate(v),
                at,
                ExplanationReady.model_validate(e) if e else None,
                shadow,
            )
            for i, v, at, shadow, e in rows
        ]


def _put_verdict(db: Connection, verdict_id: UUID, event: VerdictIssued, shadow: bool) -> None:
    image, verdict = event.image, event.verdict
    if image is not None:
        db.execute(
            "INSERT INTO images (sha256, phash, width_px, height_px, media_type, size_bytes, first_uploaded_at)"
            " VALUES (%s, %s::bit(64), %s, %s, %s, %s, %s) ON CONFLICT (sha256) DO UPDATE"
            " SET first_uploaded_at = least(images.first_uploaded_at, excluded.first_uploaded_at)",
            (
                image.sha256, _bits(image.phash), image.width_px, image.height_px, image.media_type,
                image.size_bytes, event.uploaded_at,
            ),
        )  # fmt: skip
    db.execute(
        "INSERT INTO verdicts (verdict_id, image_id, upload_id, sha256, phash, replay_id, verdict, probability,"
        " reliability, action, profile, policy, uploaded_at, event, shadow, recorded_at)"
        # by the clock, not by the transaction: a verdict and the one that replaces it may share a batch
        " VALUES (%s, %s, %s, %s, %s::bit(64), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())"
        " ON CONFLICT (verdict_id) DO UPDATE SET shadow = false, recorded_at = excluded.recorded_at"
        " WHERE verdicts.shadow AND NOT excluded.shadow",
        (
            verdict_id, _storable(event.image_id), event.upload_id, image.sha256 if image else None,
            _bits(image.phash) if image else None, _storable(event.replay_id), verdict.verdict, verdict.probability,
            verdict.reliability, verdict.action, verdict.provenance.profile, verdict.provenance.policy,
            event.uploaded_at, _json(event), shadow,
        ),
    )  # fmt: skip
    for claim in verdict.claims:
        db.execute(
            "INSERT INTO claims (verdict_id, claim_id, cue_id, region_id, polarity, status, probability, z)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                verdict_id, claim.claim_id, claim.cue_id, claim.region_id, claim.polarity, claim.status,
                claim.probability, claim.z,
            ),
        )  # fmt: skip


def _json(event: VerdictIssued | ExplanationReady) -> Jsonb:
    return Jsonb(_storable(event.model_dump(mode="json")))


def _storable(value: Any) -> Any:
    """The same with U+FFFD for NUL: JSON may hold it, PostgreSQL's text and jsonb may not, and an
    uploader's stray character must not keep a verdict from being recorded."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_storable(k): _storable(v) for k, v in value.items()}
    return [_storable(v) for v in value] if isinstance(value, list) else value


def _bits(phash: str) -> str:
    return f"{int(phash, 16):064b}"
