"""Cues, their evidence and known examples in PostgreSQL, searched by pgvector.

In: cues, documents, an encoder; region vectors. Out: the nearest cues of either side. Vectors of fewer
than 512 dimensions are padded with zeros; more raise ``UsageError``. ``DependencyAway`` when the
server does not answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from telltale.cues import LANGUAGES, SIDES, Cue, Document, Side, sentences
from telltale.errors import UsageError
from telltale.models import Encoder
from telltale.regions import CueRegion, RegionType
from telltale.stores.database import Connection, Database

DIMENSIONS = 512
LOADING = 0x7E117A1E01  # advisory lock: workers that start together load the corpus once
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """A cue (one side of it) near a region."""

    region_id: str
    cue_id: str
    side: Side
    similarity: float


@dataclass(frozen=True)
class Wanted:
    """A region's vector and the cue regions that may be looked for in it."""

    region_id: str
    vector: Vector
    cue_regions: tuple[CueRegion, ...]


class CueStore:
    """The corpus, one set of vectors an encoder revision."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn)

    def load(
        self, cues: Sequence[Cue], documents: Mapping[str, Document], encoder: Encoder
    ) -> bool:
        """Make the tables hold exactly this corpus for this encoder; whether anything changed."""
        if self.holds(encoder.revision, cues, documents):
            return False
        revision = corpus_revision(cues, documents)
        vectors = {(c.cue_id, side): _mean(encoder, c, side) for c in cues for side in SIDES}
        with self._database.connection() as db:
            db.execute("SELECT pg_advisory_xact_lock(%s)", (LOADING,))
            if _is_loaded(db, encoder.revision, revision):
                return False  # another worker was quicker
            _write_corpus(db, cues, documents)
            _write_vectors(db, encoder.revision, cues, vectors)
            db.execute(
                "INSERT INTO corpora (encoder, revision) VALUES (%s, %s) ON CONFLICT (encoder)"
                " DO UPDATE SET revision = excluded.revision, loaded_at = now()",
                (encoder.revision, revision),
            )
        return True

    def holds(self, encoder: str, cues: Sequence[Cue], documents: Mapping[str, Document]) -> bool:
        """Whether the tables hold exactly this corpus for that encoder."""
        with self._database.connection() as db:
            return _is_loaded(db, encoder, corpus_revision(cues, documents))

    def revision(self, encoder: str) -> str:
        """The corpus loaded for that encoder. Raises ``UsageError`` when there is none."""
        with self._database.connection() as db:
            row = db.execute(
                "SELECT revision FROM corpora WHERE encoder = %s", (encoder,)
            ).fetchone()
        if row is None:
            raise UsageError(f"no cues are loaded for encoder {encoder}; run 'telltale cues load'")
        return str(row[0])

    def nearest(self, encoder: str, wanted: Sequence[Wanted], k: int) -> list[Match]:
        """The ``k`` nearest cues of each side for every region, in one query."""
        if not wanted:
            return []
        query = """
            SELECT r.region_id, c.cue_id, c.side, 1 - c.distance
            FROM unnest(%s::text[], %s::text[]::halfvec[], %s::text[]) AS r (region_id, vector, cue_regions),
                 unnest(ARRAY['artifact', 'natural']) AS s (side),
                 LATERAL (
                    SELECT cue_id, side, vector <=> r.vector AS distance
                    FROM cue_vectors
                    WHERE encoder = %s AND side = s.side AND region = ANY (string_to_array(r.cue_regions, ','))
                    ORDER BY vector <=> r.vector, cue_id LIMIT %s
                 ) AS c
        """
        with self._database.connection() as db:
            rows = db.execute(
                query,
                (
                    [w.region_id for w in wanted], [as_text(w.vector) for w in wanted],
                    [",".join(w.cue_regions) for w in wanted], encoder, k,
                ),
            ).fetchall()  # fmt: skip
        found = [Match(r, c, s, round(float(d), 6)) for r, c, s, d in rows]
        return sorted(found, key=lambda m: (-m.similarity, m.cue_id, m.side, m.region_id))

    def search(self, encoder: str, vector: Vector, k: int) -> list[Match]:
        """The cues nearest to a sentence's vector, whatever their region."""
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT cue_id, side, 1 - (vector <=> %s::halfvec) FROM cue_vectors WHERE encoder = %s"
                " ORDER BY vector <=> %s::halfvec, cue_id LIMIT %s",
                (as_text(vector), encoder, as_text(vector), k),
            ).fetchall()
        return [Match("", c, s, round(float(d), 6)) for c, s, d in rows]

    def put_exemplars(
        self, encoder: str, rows: Sequence[tuple[str, str, str | None, bool, Vector]]
    ) -> None:
        """Known regions: (id, region type, cue id or None, edited, vector). A repeat has no effect."""
        with self._database.connection() as db, db.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO exemplars (exemplar_id, encoder, region, cue_id, edited, vector)"
                " VALUES (%s, %s, %s, %s, %s, %s::halfvec) ON CONFLICT (encoder, exemplar_id) DO NOTHING",
                [
                    (i, encoder, region, cue, edited, as_text(v))
                    for i, region, cue, edited, v in rows
                ],
            )

    def hold_exemplars(
        self, encoder: str, rows: Sequence[tuple[str, str, str | None, bool, Vector]]
    ) -> bool:
        """Make the table hold exactly these for that encoder; whether anything changed.

        An id stands for its vector: a known id is not written again.
        """
        ids = [row[0] for row in rows]
        with self._database.connection() as db:
            held = db.execute("SELECT exemplar_id FROM exemplars WHERE encoder = %s", (encoder,))
            if {i for (i,) in held.fetchall()} == set(ids):
                return False
            db.execute(
                "DELETE FROM exemplars WHERE encoder = %s AND NOT exemplar_id = ANY (%s)",
                (encoder, ids),
            )
        self.put_exemplars(encoder, rows)
        return True

    def exemplars(
        self, encoder: str, places: Sequence[tuple[str, RegionType, Vector]], k: int
    ) -> dict[str, tuple[str, ...]]:
        """Ids of the ``k`` known regions of the same type nearest to each place, in one query.

        ``places`` holds (region id, region type, vector); a place without any is left out.
        """
        if not places:
            return {}
        query = """
            SELECT r.region_id, array_agg(e.exemplar_id ORDER BY e.distance, e.exemplar_id)
            FROM unnest(%s::text[], %s::text[], %s::text[]::halfvec[]) AS r (region_id, type, vector),
                 LATERAL (
                    SELECT exemplar_id, vector <=> r.vector AS distance
                    FROM exemplars WHERE encoder = %s AND region = r.type
                    ORDER BY vector <=> r.vector, exemplar_id LIMIT %s
                 ) AS e
            GROUP BY r.region_id
        """
        ids, types, vectors = zip(*places, strict=True)
        with self._database.connection() as db:
            rows = db.execute(
                query, (list(ids), list(types), [as_text(v) for v in vectors], encoder, k)
            ).fetchall()
        return {region_id: tuple(found) for region_id, found in rows}

    def close(self) -> None:
        """Close every connection."""
        self._database.close()


def corpus_revision(cues: Sequence[Cue], documents: Mapping[str, Document]) -> str:
    """A hash of what the corpus says: 12 hex digits."""
    sha = hashlib.sha256()
    for part in (*sorted(cues, key=lambda c: c.cue_id), *(documents[d] for d in sorted(documents))):
        sha.update(part.model_dump_json().encode())
    return sha.hexdigest()[:12]


def as_text(vector: Vector) -> str:
    """A vector as pgvector reads it, padded to 512. Raises ``UsageError`` for a longer one."""
    if len(vector) > DIMENSIONS:
        raise UsageError(
            f"the encoder has {len(vector)} dimensions, the tables hold {DIMENSIONS}; "
            "choose one with TELLTALE_ENCODER_MODEL or add a migration with wider vectors"
        )
    values = [f"{v:.6g}" for v in vector] + ["0"] * (DIMENSIONS - len(vector))
    return f"[{','.join(values)}]"


def _is_loaded(db: Connection, encoder: str, revision: str) -> bool:
    """Whether these vectors are there, and the tables that people read hold the same corpus."""
    row = db.execute(
        "SELECT (SELECT revision FROM corpora WHERE encoder = %s),"
        " (SELECT revision FROM corpora ORDER BY loaded_at DESC LIMIT 1)",
        (encoder,),
    ).fetchone()
    return row == (revision, revision)


def _mean(encoder: Encoder, cue: Cue, side: Side) -> Vector:
    """One vector a side: the mean over its sentences in every language, length 1."""
    texts = [s for language in LANGUAGES for s in sentences(cue, side, language)]
    mean = encoder.encode_texts(texts).mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-8), np.float32)


def _write_vectors(
    db: Connection, encoder: str, cues: Sequence[Cue], vectors: Mapping[tuple[str, Side], Vector]
) -> None:
    db.execute("DELETE FROM cue_vectors WHERE encoder = %s", (encoder,))
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO cue_vectors (encoder, cue_id, side, region, vector)"
            " VALUES (%s, %s, %s, %s, %s::halfvec)",
            [
                (encoder, c.cue_id, side, c.region, as_text(vectors[c.cue_id, side]))
                for c in cues
                for side in SIDES
            ],
        )


def _write_corpus(db: Connection, cues: Sequence[Cue], documents: Mapping[str, Document]) -> None:
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO documents (doc_id, content) VALUES (%s, %s) ON CONFLICT (doc_id)"
            " DO UPDATE SET content = excluded.content",
            [(d.doc_id, Jsonb(d.model_dump(mode="json"))) for d in documents.values()],
        )
        cursor.executemany(
            "INSERT INTO cues (cue_id, region, family, verifier, content) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (cue_id) DO UPDATE SET region = excluded.region, family = excluded.family,"
            " verifier = excluded.verifier, content = excluded.content",
            [
                (c.cue_id, c.region, c.family, c.verifier, Jsonb(c.model_dump(mode="json")))
                for c in cues
            ],
        )
        cursor.execute("DELETE FROM cue_documents")
        cursor.executemany(
            "INSERT INTO cue_documents (cue_id, doc_id) VALUES (%s, %s)",
            [(c.cue_id, d) for c in cues for d in dict.fromkeys(c.documents)],
        )
        cursor.execute("DELETE FROM cues WHERE NOT cue_id = ANY (%s)", ([c.cue_id for c in cues],))
        cursor.execute("DELETE FROM documents WHERE NOT doc_id = ANY (%s)", (list(documents),))
