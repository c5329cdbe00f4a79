"""Real servers on loopback that answer with exactly the bytes a test wants, as slowly as it wants."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Reply = bytes | Callable[[socket.socket, threading.Event], None]
"""What is sent, or a function of the connection and an event that is set when the test is over."""


@dataclass
class Server:
    """Where it listens, and the requests it got."""

    port: int
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer(body: bytes, status: int = 200, *headers: str) -> bytes:
    """A whole HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def serving(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Answer one connection after another; the last reply is given to all that follow."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    server = Server(listener.getsockname()[1])
    waiting = list(replies)

    def answer_one(connection: socket.socket) -> None:
        with suppress(OSError), connection:  # the client may leave at any moment
            connection.settimeout(10)
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            server.requests.append(connection.recv(65536))
            reply = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if callable(reply):
                reply(connection, over)
            else:
                connection.sendall(reply)
            connection.close()

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer_one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
