"""Where the benchmark runs: the servers at hand, with topics, a database and pictures of its own.

In: settings. Out: ``World``s, each with its own topic prefix, and their child processes; topics, database
and pictures are gone afterwards. Raises ``TelltaleError`` with the end of the log of a process that ended,
``UsageError`` for a PostgreSQL user who may not create a database.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from telltale.errors import TelltaleError, UsageError
from telltale.settings import Settings
from telltale.topics import DEAD_TOPICS, TOPICS

READY_S = 1200.0  # weights load slowly on busy cores
STOP_S = 60.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Child:
    """A process of the benchmark and its log."""

    process: subprocess.Popen[str]
    log: Path
    port: int = 0

    def ask(self, line: str) -> float:
        """Send a line to ``bare``; the seconds it answers with."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise TelltaleError(f"the benchmark's process ended; {self._end()}")
        return float(answer)

    def page(self, name: str) -> bytes | None:
        """One of a worker's pages; None while it does not answer well."""
        if self.process.poll() is not None:
            raise TelltaleError(f"the benchmark's worker ended; {self._end()}")
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.port}/{name}", timeout=5) as answer:
                body: bytes = answer.read()
                return body
        except OSError:
            return None

    def wait_ready(self) -> None:
        """Wait until a worker takes events."""
        deadline = time.monotonic() + READY_S
        while self.page("readyz") is None:
            if time.monotonic() > deadline:
                raise TelltaleError(
                    f"the benchmark's worker was not ready in {READY_S:g} s; {self._end()}"
                )
            time.sleep(0.2)

    def cpu_s(self) -> float:
        """Seconds of processor time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it does not end."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _end(self) -> str:
        return f"{self.log}: ...{self.log.read_text(errors='replace')[-800:]}"


@dataclass
class World:
    """Settings of one measurement."""

    settings: Settings
    folder: Path

    @contextmanager
    def child(self, *arguments: str) -> Iterator[Child]:
        """``stream_worker`` with these arguments, stopped at the end."""
        settings = self.settings
        port = _free_port()
        variables = {
            "TELLTALE_HOME": str(settings.home),
            "TELLTALE_KAFKA_BOOTSTRAP": str(settings.kafka_bootstrap),
            "TELLTALE_POSTGRES_DSN": str(settings.postgres_dsn),
            "TELLTALE_REDIS_URL": str(settings.redis_url),
            "TELLTALE_IMAGES_URL": settings.images_root,
            "TELLTALE_TOPIC_PREFIX": settings.topic_prefix,
            "TELLTALE_WORKER_PORT": str(port),
            "TELLTALE_WORKER_HOST": "127.0.0.1",
            "TELLTALE_LOG_LEVEL": "WARNING",
            "TELLTALE_THREADS": str(settings.threads),
        }
        log = self.folder / f"{settings.topic_prefix}{arguments[0]}-{port}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "telltale.lab.stream_worker", *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE if arguments[0] == "bare" else errors,
                stderr=errors, text=True, env={**os.environ, **variables},
            )  # fmt: skip
        child = Child(process, log, port)
        try:
            yield child
        finally:
            child.stop()


@contextmanager
def new_world(given: Settings, folder: Path) -> Iterator[World]:
    """Topics with a prefix of their own, deleted afterwards."""
    from telltale.delivery.topics_admin import admin, create_topics

    settings = given.model_copy(
        update={"topic_prefix": f"{given.topic_prefix}bench-{uuid4().hex[:8]}."}
    )
    asyncio.run(create_topics(settings))

    async def delete() -> None:
        async with admin(settings) as client:
            await client.delete_topics(
                [settings.topic_prefix + t.name for t in TOPICS + DEAD_TOPICS]
            )

    try:
        yield World(settings, folder)
    finally:
        asyncio.run(delete())


@contextmanager
def own_database(settings: Settings, folder: Path) -> Iterator[Settings]:
    """Settings with a database and an image store of their own; migrated, cues loaded."""
    import psycopg

    from telltale.app import Wiring
    from telltale.stores.migrate import migrate

    name = f"bench_{uuid4().hex[:8]}"
    parts = urlsplit(str(settings.postgres_dsn))
    with ExitStack() as undo:
        server = undo.enter_context(psycopg.connect(str(settings.postgres_dsn), autocommit=True))
        try:
            server.execute(f'CREATE DATABASE "{name}"')
        except psycopg.errors.InsufficientPrivilege as error:
            raise UsageError(
                "TELLTALE_POSTGRES_DSN: the benchmark keeps its verdicts out of yours and needs a user who may create a database"
            ) from error
        undo.callback(server.execute, f'DROP DATABASE "{name}" WITH (FORCE)')
        own: dict[str, Any] = {
            "postgres_dsn": urlunsplit(parts._replace(path=f"/{name}")),
            "images_url": f"file://{folder / 'images'}",
            "images_options": {},
        }
        made = settings.model_copy(update=own)
        migrate(str(made.postgres_dsn))
        Wiring(made).load_cues()
        yield made


def wait_shared(settings: Settings, group: str, members: int) -> None:
    """Wait until so many processes share the partitions of a consumer group, and none is joining."""
    from confluent_kafka import ConsumerGroupState
    from confluent_kafka.admin import AdminClient

    from telltale.delivery.kafka import confluent_options

    client, name = AdminClient(confluent_options(settings)), settings.topic_prefix + group
    deadline = time.monotonic() + READY_S
    while True:
        found = client.describe_consumer_groups([name], request_timeout=15)[name].result()
        if found.state == ConsumerGroupState.STABLE and len(found.members) == members:
            return
        if time.monotonic() > deadline:
            raise TelltaleError(
                f"{len(found.members)} of {members} processes of the benchmark had joined {name} in {READY_S:g} s"
            )
        time.sleep(0.2)


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
