"""Bring a database up to date: the plain SQL files of ``migrations/``, through yoyo-migrations.

In: a PostgreSQL DSN. Out: the names applied. Raises ``DependencyAway`` when the server does not
answer and ``UsageError`` naming the migration that failed; what was applied before it stays.
"""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path

from telltale.errors import DependencyAway, UsageError

MIGRATING = 0x7E117A1E02  # advisory lock
CONNECT_S = 5


def migrations_folder() -> Path:
    """The folder inside an installed package, or beside the source root."""
    package = Path(str(resources.files("telltale")))
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"


def migrate(dsn: str) -> list[str]:
    """Apply what is missing, in order, each in a transaction. Callers at once take turns."""
    import psycopg
    from yoyo import get_backend, read_migrations

    logging.getLogger("yoyo").setLevel(logging.WARNING)
    scheme, found, rest = dsn.partition("://")
    if scheme not in ("postgresql", "postgres") or not found:
        raise UsageError("TELLTALE_POSTGRES_DSN: must begin with postgresql://")
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_S) as turn:
            # yoyo's own lock is a row, which a killed process leaves behind; this one goes with its
            # connection, and whoever holds it may clear such a row away
            turn.execute("SELECT pg_advisory_lock(%s)", (MIGRATING,))
            backend = get_backend(f"postgresql+psycopg://{rest}")
            try:
                backend.break_lock()
                missing = backend.to_apply(read_migrations(str(migrations_folder())))
                with backend.lock():
                    backend.apply_migrations(missing)
            finally:
                backend.connection.close()
    except psycopg.OperationalError as error:
        raise DependencyAway("postgres", str(error).strip().split("\n")[0]) from error
    except psycopg.Error as error:
        raise UsageError(f"a migration failed: {error}; the database is as before it") from error
    return [m.id for m in missing]
