"""Bring a database up to date: the plain SQL files of ``migrations/``, through yoyo-migrations.

In: a PostgreSQL DSN. Out: the names applied. Raises ``DependencyAway`` when the server does not
answer and ``UsageError`` naming the migration that failed; what was applied before it stays.
"""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path

from telltale.errors import DependencyAway, UsageError


def migrations_folder() -> Path:
    """The folder inside an installed package, or beside the source root."""
    package = Path(str(resources.files("telltale")))
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"


def migrate(dsn: str) -> list[str]:
    """Apply what is missing, in order, each in a transaction. Two callers at once take turns."""
    from psycopg import OperationalError
    from yoyo import get_backend, read_migrations

    logging.getLogger("yoyo").setLevel(logging.WARNING)
    address = dsn.replace("postgresql://", "postgresql+psycopg://", 1).replace(
        "postgres://", "postgresql+psycopg://", 1
    )
    try:
        backend = get_backend(address)
    except OperationalError as error:
        raise DependencyAway("postgres", str(error).strip()) from error
    with backend.lock():
        missing = backend.to_apply(read_migrations(str(migrations_folder())))
        try:
            backend.apply_migrations(missing)
        except Exception as error:  # yoyo passes on whatever the driver raises
            raise UsageError(
                f"a migration failed: {error}; the database is as before it"
            ) from error
    return [m.id for m in missing]
