"""The embedded stack: Apache Kafka, PostgreSQL with pgvector and Valkey on loopback, without Docker.

In: a home directory. Out: ``Endpoints`` of servers that answer. A detached supervisor owns the
servers, restarts one that dies, and takes them with it when it ends, however it ends. Data stay in
the home. Raises ``UsageError`` with one sentence when a server cannot be started.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from telltale.errors import TelltaleError, UsageError

START_S = 300.0  # the first start fetches 54 MB of jars, perhaps slowly
STOP_S = 40.0
GIVEN = ("TELLTALE_KAFKA_BOOTSTRAP", "TELLTALE_POSTGRES_DSN", "TELLTALE_REDIS_URL")

Say = Callable[[str], object]


class Endpoints(BaseModel):
    """Where the servers answer, and who owns them."""

    model_config = ConfigDict(frozen=True)

    kafka_bootstrap: str
    postgres_dsn: str
    redis_url: str
    broker: Literal["kafka", "mock", "given"]
    supervisor_pid: int
    pids: dict[str, int]
    logs: str


def read_endpoints(home: Path) -> Endpoints | None:
    """The endpoints of a stack that runs under ``home``, or None."""
    if not _held(home / "supervisor.lock"):
        return None
    try:
        return Endpoints.model_validate_json((home / "stack.json").read_text())
    except (OSError, ValidationError):
        return None


def up(home: Path, on_progress: Say | None = None) -> Endpoints:
    """Start the stack, or find the one that runs; returns when every server answers."""
    say = on_progress or (lambda _: None)
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / "logs").mkdir(exist_ok=True)
        turn = (home / "up.lock").open("w")
    except OSError as error:
        raise UsageError(f"TELLTALE_HOME {home} cannot be written: {error.strerror}") from error
    with turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # two 'up's at once: the second finds the first
        if (found := read_endpoints(home)) is not None:
            return found
        return _start(home, say)


def down(home: Path) -> bool:
    """Stop the stack cleanly; whether there was one. Data stay."""
    pid = _supervisor_pid(home)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while _held(home / "supervisor.lock"):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return True


@contextmanager
def running(home: Path, on_progress: Say | None = None) -> Iterator[Endpoints]:
    """The stack for the length of a block; stopped afterwards if this call started it."""
    already = read_endpoints(home)
    endpoints = up(home, on_progress)
    try:
        yield endpoints
    finally:
        if already is None:
            down(home)


def _start(home: Path, say: Say) -> Endpoints:
    log = home / "logs" / "supervisor.log"
    (home / "stack.json").unlink(missing_ok=True)  # left by a supervisor that was killed
    begun = log.stat().st_size if log.exists() else 0
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "telltale.stack.supervisor", str(home)],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    told = begun
    while time.monotonic() < deadline:
        told = _tell(log, told, say)
        if (found := read_endpoints(home)) is not None:
            return found
        if process.poll() is not None:
            raise UsageError(f"the embedded stack did not start: {_last_line(log)} (log: {log})")
        time.sleep(0.05)
    process.terminate()
    raise TelltaleError(f"the embedded stack was not ready in {START_S:g} s; its log is {log}")


def _tell(log: Path, position: int, say: Say) -> int:
    with log.open("rb") as lines:
        lines.seek(position)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            position += len(line)
            say(line.decode(errors="replace").rstrip())
    return position


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _supervisor_pid(home: Path) -> int | None:
    if not _held(home / "supervisor.lock"):
        return None
    try:
        return int((home / "supervisor.lock").read_text())
    except (OSError, ValueError):
        return None


def _held(path: Path) -> bool:
    """Whether a process holds the lock: it does exactly as long as it lives."""
    try:
        with path.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
