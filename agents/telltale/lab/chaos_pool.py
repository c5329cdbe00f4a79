"""Workers as processes, kept at a number, as a supervisor would.

In: the command of a worker and its variables. Out: processes with their pages and logs. A worker
that ends is replaced; one that is stopped (SIGSTOP) is not, as nobody would notice it had died.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from telltale.errors import TelltaleError

END_S = 60.0
START_S = 600.0  # loading weights on two busy cores takes minutes
PAGE_S = 5.0
# a proxy named in the environment is for the world outside, not for this machine
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class WorkerProcess:
    """A worker. ``hurt`` once a fault that ends it was done; ``resume_at`` while it is stopped."""

    process: subprocess.Popen[bytes]
    log: Path
    hurt: bool = False
    resume_at: float | None = None

    def page(self, name: str) -> tuple[int, bytes]:
        """Status and body of one of its pages; 0 while it has no port."""
        lines = [line for line in self.text.splitlines() if "worker pages" in line]
        if not lines:
            return 0, b""
        url = lines[-1].split("url=")[1].split()[0].replace("healthz", name)
        try:
            with _DIRECT.open(url, timeout=PAGE_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def health(self, stage: str) -> dict[str, object]:
        """What its health page says of a stage."""
        return dict(json.loads(self.page("healthz")[1])["stages"][stage])

    @property
    def text(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether the process is there, stopped or not."""
        return self.process.poll() is None

    @property
    def in_group(self) -> bool:
        """Whether it takes events."""
        return self.page("readyz")[0] == 200

    @property
    def stopped(self) -> bool:
        """Whether a SIGSTOP holds it."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        return self.alive and stat.read_text().rpartition(")")[2].split()[0] == "T"

    def signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.alive:
            self.process.send_signal(number)

    def ended(self, within_s: float = END_S) -> int:
        """Wait for its end; the exit status. Raises ``subprocess.TimeoutExpired``."""
        return self.process.wait(within_s)

    def rss_bytes(self) -> int:
        """Memory it holds now; 0 once it has ended."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Pool:
    """As many workers as ``size``, and what became of those that ended unasked."""

    command: Sequence[str]
    variables: dict[str, str]
    folder: Path
    size: int
    members: list[WorkerProcess] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    started: int = 0

    def fill(self) -> None:
        """Replace the workers that have ended."""
        for member in [m for m in self.members if not m.alive]:
            self.members.remove(member)
            if not member.hurt:
                self.unasked.append(f"{member.log.name}: {member.process.returncode}")
        while len(self.members) < self.size:
            self.members.append(self._start())

    def grow(self) -> WorkerProcess:
        """One worker more, who ends when told and is not replaced."""
        self.size += 1
        self.members.append(self._start())
        self.members[-1].hurt = True
        return self.members[-1]

    def shrink(self, member: WorkerProcess) -> None:
        """Tell one that ``grow`` brought to end."""
        self.size -= 1
        member.signal(signal.SIGTERM)

    def check_started(self, ready: bool) -> None:
        """Raise ``TelltaleError`` unless the workers are ready and none has ended meanwhile."""
        if not ready or self.unasked:
            why = "; ".join(self.unasked) or f"not ready in {START_S:g} s"
            raise TelltaleError(
                f"the workers did not start ({why}); their logs are in {self.folder}"
            )

    def resume(self, everybody: bool = False) -> list[WorkerProcess]:
        """Let stopped workers go on whose time has come; which they were."""
        due = [
            m for m in self.members
            if m.resume_at is not None and (everybody or m.resume_at <= time.time())
        ]  # fmt: skip
        for member in due:
            member.signal(signal.SIGCONT)
            member.resume_at, member.hurt = None, False
        return due

    @property
    def running(self) -> list[WorkerProcess]:
        """Those alive and not stopped."""
        return [m for m in self.members if m.alive and m.resume_at is None]

    @property
    def ready(self) -> bool:
        """Whether every running worker is in its group."""
        return all(m.in_group for m in self.running)

    def stop(self) -> None:
        """End all as a deployment would: SIGTERM, and SIGKILL for what does not end."""
        self.resume(everybody=True)
        for member in self.members:
            member.signal(signal.SIGTERM)
        for member in self.members:
            try:
                code = member.ended()
            except subprocess.TimeoutExpired:
                self.unasked.append(f"{member.log.name}: did not end on SIGTERM in {END_S:g} s")
            else:
                # -SIGTERM: it had only begun to start
                if code not in (0, -signal.SIGTERM) and not member.hurt:
                    self.unasked.append(f"{member.log.name}: {code} on SIGTERM")
        self.kill()

    def kill(self) -> None:
        """End all at once; none is left."""
        for member in self.members:
            member.process.kill()
            member.process.wait()
        self.members.clear()

    def _start(self) -> WorkerProcess:
        self.started += 1
        log = self.folder / f"worker-{self.started}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                env={**os.environ, **self.variables},
            )  # fmt: skip
        return WorkerProcess(process, log)
