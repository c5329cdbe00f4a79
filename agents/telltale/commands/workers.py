"""Start workers as child processes and know when they are ready.

In: settings. Out: a running ``telltale worker``; its log goes to a file. Raises ``TelltaleError``
with the end of that log when it dies before it is ready.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from telltale.errors import TelltaleError
from telltale.settings import Settings

READY_S = 180.0  # loading torch and the weights on two busy cores takes a good part of a minute
STOP_S = 30.0
# a proxy named in the environment is for the world outside, not for this machine
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def running_worker(settings: Settings, stage: str = "--all") -> Iterator[subprocess.Popen[bytes]]:
    """A worker of one stage (or ``--all``), stopped by SIGTERM at the end, killed if it will not."""
    log = settings.home / "logs" / f"worker{stage.replace('--', '-')}.log"
    process, port = start_worker(settings, stage, log)
    try:
        wait_ready(process, port, log)
        yield process
    finally:
        stop_worker(process)


def start_worker(
    settings: Settings, stage: str, log: Path, **environment: str
) -> tuple[subprocess.Popen[bytes], int]:
    """Start without waiting. Returns the process and the port of its health endpoints."""
    port = _free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = {
        "TELLTALE_HOME": str(settings.home),
        "TELLTALE_WORKER_PORT": str(port),
        **environment,
    }
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", "from telltale.cli import main; main()", "worker", stage],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **variables},
        )  # fmt: skip
    return process, port


def wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the worker takes events."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TelltaleError(f"the worker ended with code {process.returncode}; {_end_of(log)}")
        try:
            with DIRECT.open(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass  # not up yet
        time.sleep(0.2)
    raise TelltaleError(f"the worker was not ready in {READY_S:g} s; {_end_of(log)}")


def stop_worker(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if it does not end."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def keep_worker(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    """Remember a worker that is left running, so that ``telltale down`` can stop it."""
    folder = settings.home / "workers"
    folder.mkdir(exist_ok=True)
    (folder / str(process.pid)).touch()


def stop_kept_workers(home: Path) -> int:
    """Stop the workers that were left running from this home; returns how many there were."""
    stopped = 0
    for mark in (home / "workers").glob("[0-9]*"):
        pid = int(mark.name)
        if _is_worker(pid):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_S
            while _is_worker(pid):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.1)
            stopped += 1
        mark.unlink()
    return stopped


def _is_worker(pid: int) -> bool:
    """Whether that process is one of our workers: the number may have gone to another since."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state != "Z" and b"telltale.cli" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
    return f"its log {log} ends: {' / '.join(lines)}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
