"""What the record stage kept of a run's uploads: one verdict each, one explanation each.

In: settings towards PostgreSQL, the run's name, the number of uploads. Out: counts of rows. Waits for
rows that are still to come, until they stop coming. Raises what the database raises.
"""

from __future__ import annotations

import time

import psycopg

from telltale.settings import Settings

QUIET_S = 90.0  # no new row for this long: no more will come
LOOK_S = 0.5
COUNT = """
SELECT count(*), count(DISTINCT v.upload_id),
       (SELECT count(*) FROM explanations AS e WHERE e.image_id LIKE %(run)s),
       (SELECT count(DISTINCT e.verdict_id) FROM explanations AS e WHERE e.image_id LIKE %(run)s)
FROM verdicts AS v WHERE v.image_id LIKE %(run)s
"""


def count_rows(settings: Settings, run: str, uploads: int) -> dict[str, int]:
    """``verdicts``, ``explanations``, and of each those too many and those missing."""
    assert settings.postgres_dsn is not None  # connected
    heard_at, before = time.monotonic(), 0
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as db:
        while True:
            row = db.execute(COUNT, {"run": f"{run}-%"}).fetchone()
            assert row is not None  # aggregates always give one
            verdicts, judged, explanations, explained = row
            if judged >= uploads and explained >= uploads:
                break
            if judged + explained > before:
                heard_at, before = time.monotonic(), judged + explained
            if time.monotonic() - heard_at > QUIET_S:
                break
            time.sleep(LOOK_S)
    return {
        "verdicts": verdicts,
        "verdicts_too_many": verdicts - judged,
        "verdicts_missing": max(0, uploads - judged),
        "explanations": explanations,
        "explanations_too_many": explanations - explained,
        "explanations_missing": max(0, uploads - explained),
    }
