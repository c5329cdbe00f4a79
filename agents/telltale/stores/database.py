"""Connections to PostgreSQL for the stores: pooled, and honest about a server that is away.

In: a DSN. Out: connections. ``psycopg.OperationalError``, a pool that cannot connect and a server that
only reads (a standby, a failover under way) become ``DependencyAway``, so that a stage keeps its
partition and tries again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from telltale.errors import DependencyAway

CONNECT_S = 5.0
# An HNSW scan that filters (by encoder, side, region) goes on until enough rows fit; without this
# pgvector stops after the first ef_search rows, however few of them do. Needs pgvector 0.8.
NEAREST = "-c hnsw.ef_search=100 -c hnsw.iterative_scan=strict_order"
STATEMENT_MS = 30_000  # a query that takes longer is stuck; the event is tried again
Connection = psycopg.Connection[tuple[Any, ...]]
AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
)


class Database:
    """A pool that opens when first used; a connection that broke is replaced by the next call."""

    def __init__(self, dsn: str, most: int = 4) -> None:
        self._pool = ConnectionPool(
            dsn, min_size=0, max_size=most, open=False, timeout=CONNECT_S,
            # the pool's own attempts come ever later and keep others from being made meanwhile: after
            # a long outage it would be minutes before anybody noticed that the server is back
            reconnect_timeout=CONNECT_S,
            check=ConnectionPool.check_connection,
            kwargs={"options": f"-c statement_timeout={STATEMENT_MS} {NEAREST}", "connect_timeout": int(CONNECT_S)},
        )  # fmt: skip
        self._dsn, self._open = dsn, False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in a transaction. Raises ``DependencyAway``."""
        if not self._open:
            self._pool.open()
            self._open = True
        try:
            with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise DependencyAway("postgres", self._why_not()) from error
        except AWAY as error:
            raise DependencyAway("postgres", _first_line(error)) from error

    def _why_not(self) -> str:
        """What the server says to one more connection; the pool keeps that to itself."""
        try:
            psycopg.connect(self._dsn, connect_timeout=int(CONNECT_S)).close()
        except psycopg.Error as error:
            return _first_line(error)
        return f"no connection within {CONNECT_S:g} s"

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
