"""The process that owns the embedded servers: ``python -m telltale.stack.supervisor HOME``.

In: a home. Out: ``stack.json`` when every server answers; lines about progress on standard output.
It restarts a server that dies, and ends them all when it is told to. Exit code 2 with one sentence
when a server cannot be started.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

from telltale.errors import TelltaleError, UsageError
from telltale.stack import GIVEN, Endpoints
from telltale.stack.children import Child, kafka, mock_broker, postgres, valkey
from telltale.stack.jars import JarsUnreachable, cache_dir, kafka_jars
from telltale.stack.mock import UNTESTED

READY_S = 90.0
END_S = 20.0
LOOK_S = 0.2
CALM_S = 30.0  # a server that lived this long did not die of its start
MOST_PAUSE_S = 5.0


class Supervisor:
    """Starts, watches and ends the servers of one home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._children: list[Child] = []
        self._stopping = False
        self._pauses: dict[str, tuple[float, float]] = {}

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            endpoints = self._started()
            path = self._home / "stack.json"
            fresh = path.with_suffix(".new")
            fresh.touch(0o600)
            fresh.write_text(endpoints.model_dump_json())
            fresh.replace(path)
            while not self._stopping:
                time.sleep(LOOK_S)
                self._revive()
        finally:
            (self._home / "stack.json").unlink(missing_ok=True)
            self._end()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _started(self) -> Endpoints:
        ports = self._ports()
        given = {name: os.environ.get(name) for name in GIVEN}
        broker = "given"
        dsn, url = given["TELLTALE_POSTGRES_DSN"], given["TELLTALE_REDIS_URL"]
        bootstrap = given["TELLTALE_KAFKA_BOOTSTRAP"]
        # Postgres and Valkey come up while Java starts
        if dsn is None:
            child, dsn = postgres(self._home, ports["postgres"])
            self._launch(child)
        if url is None:
            child, url = valkey(self._home, ports["valkey"])
            self._launch(child)
        if bootstrap is None:
            broker, child = self._broker(ports)
            self._launch(child)
            bootstrap = f"127.0.0.1:{ports['kafka']}"
        self._wait()
        if broker == "mock":
            bootstrap = json.loads((self._home / "mock.json").read_text())["bootstrap"]
        pids = {c.name: c.process.pid for c in self._children if c.process}
        return Endpoints.model_validate(
            {
                "kafka_bootstrap": bootstrap, "postgres_dsn": dsn, "redis_url": url, "broker": broker,
                "supervisor_pid": os.getpid(), "pids": pids, "logs": str(self._home / "logs"),
            }
        )  # fmt: skip

    def _broker(self, ports: dict[str, int]) -> tuple[str, Child]:
        try:
            jars = kafka_jars(cache_dir(), _say)
        except JarsUnreachable as error:
            if os.environ.get("TELLTALE_REQUIRE_KAFKA"):
                raise UsageError(
                    f"Apache Kafka cannot be fetched and TELLTALE_REQUIRE_KAFKA is set: {error}"
                ) from error
            _say(
                f"Apache Kafka cannot be fetched; a mock broker serves instead, untested are then {UNTESTED}"
            )
            return "mock", mock_broker(self._home)
        return "kafka", kafka(self._home, jars, ports["kafka"], ports["controller"])

    def _launch(self, child: Child) -> None:
        child.start(self._home / "logs" / f"{child.name}.out")
        self._children.append(child)
        self._pauses[child.name] = (time.monotonic(), 0.0)

    def _wait(self) -> None:
        """Until every server answers, or one has died, or time is up."""
        waiting = list(self._children)
        deadline = time.monotonic() + READY_S
        while waiting and not self._stopping:
            for child in list(waiting):
                if child.process is not None and child.process.poll() is not None:
                    raise UsageError(
                        f"{child.name} ended while starting; see {self._home / 'logs'}/{child.name}.out"
                    )
                if child.answers():
                    waiting.remove(child)
            if time.monotonic() > deadline:
                names = ", ".join(c.name for c in waiting)
                raise UsageError(
                    f"{names} did not answer in {READY_S:g} s; logs are in {self._home / 'logs'}"
                )
            time.sleep(0.05)

    def _revive(self) -> None:
        """Start a server again that has died, pausing longer each time it dies soon."""
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            began, pause = self._pauses[child.name]
            if time.monotonic() - began < pause:
                continue
            longer = 0.0 if time.monotonic() - began > CALM_S else min(MOST_PAUSE_S, pause + 1.0)
            _say(f"{child.name} ended with {child.process.returncode}; started again")
            child.start(self._home / "logs" / f"{child.name}.out")
            self._pauses[child.name] = (time.monotonic(), longer)

    def _end(self) -> None:
        """All at once, each by its own signal; killed if it does not end."""
        alive = [c for c in self._children if c.process is not None and c.process.poll() is None]
        for child in alive:
            assert child.process is not None  # filtered above
            child.process.send_signal(child.stop_signal)
        deadline = time.monotonic() + END_S
        for child in alive:
            assert child.process is not None  # filtered above
            while child.process.poll() is None:
                if time.monotonic() > deadline:
                    child.process.kill()
                time.sleep(0.02)

    def _ports(self) -> dict[str, int]:
        """The ports of last time where they are free, else free ones."""
        path = self._home / "ports.json"
        try:
            before: dict[str, int] = json.loads(path.read_text())
        except (OSError, ValueError):
            before = {}
        ports: dict[str, int] = {}
        for name in ("kafka", "controller", "postgres", "valkey"):
            port = before.get(name, 0)
            while not port or port in ports.values() or not _free(port):
                port = free_port()
            ports[name] = port
            if name in before and before[name] != port:
                _say(f"port {before[name]} of {name} is taken by another program; {port} is used")
        path.write_text(json.dumps(ports))
        return ports


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port below the range from which the kernel takes ports for outgoing connections.

    Inside that range a client that knocks at a server which is down can be given the server's own
    port, connects to itself, and keeps the server from coming back.
    """
    for _ in range(1000):
        port = random.randrange(20_000, 32_000)
        if _free(port):
            return port
    raise UsageError("no port between 20000 and 32000 is free on 127.0.0.1")


def _say(text: str) -> None:
    print(text, flush=True)


def main(home: Path) -> int:
    """Take the home's lock and run; 0 after a clean stop."""
    with (home / "supervisor.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            Supervisor(home).run()
        except TelltaleError as error:
            _say(str(error))
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
