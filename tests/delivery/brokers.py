"""A broker of a test's own, to be stopped, killed, filled up, or asked for a password.

In: a folder, and lines for ``server.properties``, in which ``{port}`` and ``{controller_port}`` stand for
its ports. Out: where it answers. It is Apache Kafka, set up as the embedded stack sets it up.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

from harness import wait

from telltale.stack.children import Child, broker_answers, kafka
from telltale.stack.jars import cache_dir, kafka_jars
from telltale.stack.supervisor import free_port

START_S = 180.0


class Broker:
    """One node that keeps its port and its data over restarts."""

    def __init__(
        self, home: Path, properties: Mapping[str, str] | None = None, data: Path | None = None
    ) -> None:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        if data is not None:  # the log lies elsewhere
            data.mkdir()
            (home / "kafka").symlink_to(data)
        self.home = home
        self.port, controller_port = free_port(), free_port()
        self.secured = ""  # where a listener that the test added answers
        self.bootstrap = f"127.0.0.1:{self.port}"
        jars = kafka_jars(cache_dir(), lambda _: None)
        self._child: Child = kafka(home, jars, self.port, controller_port)
        ports = {"port": self.port, "controller_port": controller_port}
        config = home / "kafka.properties"
        with config.open("a") as lines:  # the last line of a name counts
            for name, value in (properties or {}).items():
                for port, number in ports.items():
                    value = value.replace("{" + port + "}", str(number))
                lines.write(f"{name}={value}\n")

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._child.start(self.home / "logs" / "kafka.out")
        wait(self._serves, START_S, "a broker that answers")

    def stop(self) -> None:
        """As an operator does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut does."""
        self._end(signal.SIGKILL)

    @property
    def alive(self) -> bool:
        process = self._child.process
        return process is not None and process.poll() is None

    def _end(self, number: signal.Signals) -> None:
        process = self._child.process
        if process is not None and process.poll() is None:
            process.send_signal(number)
            process.wait(60)

    def _serves(self) -> bool:
        assert self.alive, (self.home / "logs" / "kafka.out").read_text()[-2000:]
        return broker_answers(self.port)
