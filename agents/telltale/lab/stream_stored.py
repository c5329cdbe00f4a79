"""What a picture leaves in PostgreSQL and in Redis, in bytes.

In: settings whose database holds only the benchmark's rows. Out: mean bytes of a row a table (with its
share of the indexes left out: those depend on how full their pages are), rows and embeddings a picture, and
what Redis says one embedding takes. Raises what the clients raise.
"""

from __future__ import annotations

from typing import Any

from telltale.settings import Settings

TABLES = ("images", "verdicts", "claims", "explanations")


def stored(settings: Settings) -> dict[str, Any]:
    """Figures for planning storage; empty where nothing was recorded."""
    import psycopg
    import redis

    with psycopg.connect(str(settings.postgres_dsn)) as server:
        rows = {
            table: server.execute(
                f"SELECT count(*), avg(pg_column_size(t.*)) FROM {table} t"
            ).fetchone()
            for table in TABLES
        }
        keys = server.execute(
            "SELECT key FROM verdicts, jsonb_array_elements(event->'detection'->'regions') region,"
            " jsonb_array_elements_text(region->'embedding_keys') key"
        ).fetchall()
    pictures = (rows["verdicts"] or (0,))[0]
    if not pictures:
        return {}
    cache = redis.Redis.from_url(str(settings.redis_url))
    taken = [size for (key,) in keys if (size := cache.memory_usage(key))]
    return {
        "row_bytes": {t: round(float(found[1] or 0), 1) for t, found in rows.items() if found},
        "claims_per_picture": round((rows["claims"] or (0,))[0] / pictures, 2),
        "embeddings_per_picture": round(len(keys) / pictures, 2),
        "embedding_bytes": round(sum(taken) / len(taken), 1) if taken else None,
    }
