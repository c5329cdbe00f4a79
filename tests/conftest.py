"""The real servers that tests share: started once a run, on free ports, in a directory of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from telltale.settings import Settings, load_settings
from telltale.stack import Endpoints, running


@pytest.fixture(scope="session")
def stack_home() -> Iterator[Path]:
    """Where the shared servers live; TELLTALE_TEST_HOME keeps them between runs.

    Not below pytest's own temporary folders: a run that starts meanwhile closes those to other users,
    and PostgreSQL, which refuses root, runs as one.
    """
    if given := os.environ.get("TELLTALE_TEST_HOME"):
        yield Path(given)
        return
    made = Path(tempfile.mkdtemp(prefix="telltale-test-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(stack_home: Path) -> Iterator[Endpoints]:
    """Kafka, PostgreSQL with pgvector and Valkey, running."""
    with running(stack_home) as endpoints:
        yield endpoints


@pytest.fixture
def fresh_database(stack: Endpoints) -> Iterator[str]:
    """The DSN of an empty database, dropped afterwards."""
    import psycopg

    name = f"t{uuid4().hex}"
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as db:
        db.execute(f'CREATE DATABASE "{name}"')
        yield stack.postgres_dsn.rsplit("/", 1)[0] + f"/{name}"
        db.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def settings(stack: Endpoints, stack_home: Path, tmp_path: Path) -> Settings:
    """Settings towards the shared servers, with topics and pictures of this test's own."""
    return load_settings(
        home=stack_home,
        kafka_bootstrap=stack.kafka_bootstrap,
        postgres_dsn=stack.postgres_dsn,
        redis_url=stack.redis_url,
        images_url=f"file://{tmp_path / 'images'}",
        topic_prefix=f"t{uuid4().hex[:8]}.",
        kafka_partitions=4,
    )
