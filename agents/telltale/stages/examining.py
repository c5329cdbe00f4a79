"""Decode bytes that nobody vouches for in a process that may be lost.

In: uploaded bytes. Out: what ``pictures.examine`` says of them. Raises ``Rejected`` as it does, and
also when decoding takes too long, too much memory, or the process with it; ``DependencyAway`` when
no process can be started. A decoder's fault then costs one upload, not the worker. The child has
none of our environment, nothing open but the two pipes, and can write no file. It is kept for the
next picture: only one that was lost is replaced.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import BinaryIO

import numpy as np

from telltale.errors import DependencyAway, Rejected
from telltale.pictures import Examined, Limits, examine, perceptual_hash

CPU_S = 15  # 50 Mpx took 5 s (RGBA with a profile); files made to take hours end here
# where others want the CPU too. A batch of 16 such files, two at a time, must end well before a
# worker is taken for stuck (300 s), or it would be restarted and given them again, for ever.
WALL_S = 25.0
PROCESSES = (2, 4)  # at least and at most; between them, one a core
START_S = 60.0
# 50 Mpx took up to 1.33 GB with the interpreter (lossless WebP); this allows a fifth more
BYTES_PER_PX = 24
SPARE_BYTES = 256 * 1024 * 1024
FILES = 16  # descriptors: two pipes and what importing a module opens
KEPT = ("LD_LIBRARY_PATH",)  # some Pythons do not start without it
SOURCE = Path(__file__).parents[2]
CHILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from telltale.stages.examining import serve; serve(*map(int, sys.argv[2:]))"
)


class Examiner:
    """A few such processes, started when first needed; as many pictures are decoded at once."""

    def __init__(
        self, limits: Limits, processes: int = 0, cpu_s: int = CPU_S, wall_s: float = WALL_S
    ) -> None:
        self._limits, self._cpu_s, self._wall_s = limits, cpu_s, wall_s
        # last in, first out: a quiet worker keeps one process warm and never starts the others
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        least, most = PROCESSES
        for _ in range(processes or max(least, min(most, os.cpu_count() or 1))):
            self._idle.put(None)

    def examine(self, data: bytes) -> Examined:
        """What ``pictures.examine`` says. Raises ``Rejected`` or ``DependencyAway``."""
        child = self._idle.get()
        left_s = self._wall_s
        try:
            for _ in range(2):  # one killed for memory that others took is no fault of the picture
                if child is None or not child.alive:
                    child = _Child(self._limits, self._cpu_s)
                began = time.monotonic()
                try:
                    return child.ask(data, left_s)
                except _Overran as error:
                    raise Rejected("decompression_bomb", "decoding it takes too long") from error
                except _Lost:
                    left_s = max(left_s - (time.monotonic() - began), 1.0)
            raise Rejected("decode_failed", "the decoder broke down on it, twice")
        finally:
            self._idle.put(child if child is not None and child.alive else None)

    def close(self) -> None:
        """End the idle processes; one at work ends with the worker."""
        for _ in range(self._idle.qsize()):
            child = self._idle.get_nowait()
            if child is not None:
                child.end()
            self._idle.put(None)


class _Lost(Exception):
    """The process is gone, and no answer came."""


class _Overran(_Lost):
    """It was ended because it took too long."""


class _Child:
    """One process and its two pipes. Used by one thread at a time."""

    def __init__(self, limits: Limits, cpu_s: int) -> None:
        arguments = [str(SOURCE), *map(str, (*astuple(limits), cpu_s))]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", CHILD, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", start_new_session=True,
                env={"OPENBLAS_NUM_THREADS": "1"} | {k: os.environ[k] for k in KEPT if k in os.environ},
            )  # fmt: skip
            with self._ending_after(START_S):
                _receive(self._out)
        except (OSError, _Lost) as error:
            raise DependencyAway(
                "picture decoder", f"its process does not start: {error}"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, data: bytes, wall_s: float) -> Examined:
        """Raises ``Rejected``, or ``_Lost`` after which it is not alive."""
        with self._ending_after(wall_s):
            _send(self._in, data)
            answer = json.loads(_receive(self._out))
        if "code" in answer:
            raise Rejected(answer["code"], answer["problem"])
        return Examined(**answer)

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        self._out.close()
        with suppress(BrokenPipeError):  # what was still to be written is for nobody
            self._in.close()

    @property
    def _in(self) -> BinaryIO:
        assert self._process.stdin is not None  # asked for above
        return self._process.stdin  # type: ignore[return-value]  # bytes without text=True

    @property
    def _out(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    @contextmanager
    def _ending_after(self, wall_s: float) -> Iterator[None]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(wall_s, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (EOFError, OSError) as error:
            self.end()
            if late.is_set() or self._process.returncode == -signal.SIGXCPU:
                raise _Overran from error
            raise _Lost(f"it ended with {self._process.returncode}") from error
        finally:
            timer.cancel()


def serve(max_px: int, max_side_px: int, min_side_px: int, cpu_s: int) -> None:
    """The child: answer until the other end of the pipe is closed."""
    limits = Limits(max_px, max_side_px, min_side_px)
    perceptual_hash(np.zeros((32, 32, 3), np.uint8))  # imports what it needs, before the limits
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # decoders write their complaints wherever they like
        os.dup2(nothing, fd)
    _confine(BYTES_PER_PX * max_px + SPARE_BYTES)
    _send(outbox, b"ready")
    while True:
        try:
            data = _receive(inbox)
        except EOFError:
            return
        _allow_cpu(cpu_s)
        _send(outbox, _answer(data, limits))


def _answer(data: bytes, limits: Limits) -> bytes:
    try:
        return json.dumps(asdict(examine(data, limits))).encode()
    except Rejected as error:
        return json.dumps({"code": error.code, "problem": str(error)}).encode()


def _confine(memory_bytes: int) -> None:
    for limit, most in (
        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, FILES),
    ):  # fmt: skip
        resource.setrlimit(limit, (most, most))
    mapped = Path("/proc/self/statm")
    if mapped.exists():  # elsewhere than on Linux, RLIMIT_AS is not kept to
        now = int(mapped.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory_bytes, now + memory_bytes))


def _allow_cpu(cpu_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu_s, hard))


def _send(pipe: BinaryIO, data: bytes) -> None:
    pipe.write(struct.pack(">Q", len(data)))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> bytes:
    """The next message. Raises ``EOFError`` when the other end is gone."""
    size = pipe.read(8)
    if len(size) < 8:
        raise EOFError("the pipe is closed")
    (length,) = struct.unpack(">Q", size)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError("the pipe is closed")
    return data
