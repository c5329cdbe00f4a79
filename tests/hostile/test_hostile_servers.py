"""Addresses and servers made to harm: never fetched past the check, never longer than the deadline."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import threading
import time

import pytest

from telltale.errors import Rejected
from telltale.fetching import FetchLimits, fetch
from tests.hostile.servers import Reply, answer, serving

OPEN = FetchLimits()
LOOPBACK = FetchLimits(allow_hosts=("127.0.0.1/32",), timeout_s=1, max_bytes=100_000)
OK = b"HTTP/1.1 200 OK\r\n"


def code(uri: str, limits: FetchLimits = OPEN) -> str:
    """The code of the refusal; it must come by the deadline, and some for a busy machine."""
    started = time.monotonic()
    with pytest.raises(Rejected) as refusal:
        fetch(uri, limits)
    assert time.monotonic() - started < limits.timeout_s + 5
    return refusal.value.code


@pytest.fixture
def numeric_only(monkeypatch) -> list[str]:
    """Look-ups of numbers are real; a name would be a question to the network, and is noted."""
    real, asked = socket.getaddrinfo, []

    def look_up(host, port, *rest, **named):
        asked.append(host)
        return real(host, port, *rest, flags=socket.AI_NUMERICHOST, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.fixture
def no_connection(monkeypatch) -> None:
    """A connection of any kind fails the test."""

    def connect(*args, **named):
        raise AssertionError(f"connected to {args}")

    monkeypatch.setattr(socket, "create_connection", connect)


@pytest.mark.usefixtures("numeric_only", "no_connection")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0", "0.0.0.0", "10.0.0.1",
        "192.168.0.1", "169.254.169.254", "2852039166", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]",
        "[fd00:ec2::254]", "[fe80::1]", "public@127.0.0.1", "a:b@127.0.0.1", "127.0.0.1:8080",
        "example.com@[::1]",
    ],
)  # fmt: skip
def test_no_spelling_of_an_inner_address_is_fetched(host: str) -> None:
    for scheme in ("http", "https"):
        assert code(f"{scheme}://{host}/latest/meta-data/") == "host_forbidden"


@pytest.mark.usefixtures("numeric_only", "no_connection")
@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "ftp://127.0.0.1/", "data:,x",
        "//127.0.0.1/", "127.0.0.1", "http://", "http:///etc/passwd", "http://127.0.0.1\t/",
        "http://127.0.0.1\r\nHost: x/", "http://[::1", "http://0177.0.0.1/", "jar:http://127.0.0.1!/",
        "HTTP+UNIX://%2Fvar%2Frun%2Fdocker.sock/", "http://127.0.0.1:port/",
    ],
)  # fmt: skip
def test_other_schemes_and_unreadable_addresses_are_refused(uri: str) -> None:
    assert code(uri) == "uri_unsupported"


def test_localhost_by_name_is_refused(no_connection, monkeypatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: real("127.0.0.1", *rest, **named))  # fmt: skip
    for host in ("localhost", "localhost.", "LOCALHOST", "evil.example"):
        assert code(f"http://{host}/") == "host_forbidden"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://127.0.0.2/", "host_forbidden"), ("http://169.254.169.254/latest/", "host_forbidden"),
        ("http://[::1]/", "host_forbidden"), ("//10.0.0.1/", "host_forbidden"),
        ("file:///etc/passwd", "uri_unsupported"), ("gopher://127.0.0.1/", "uri_unsupported"),
        ("http://[::1", "fetch_failed"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("numeric_only")
def test_a_redirect_is_checked_like_the_first_address(location: str, expected: str) -> None:
    with serving(answer(b"", 302, f"Location: {location}")) as server:
        assert code(server.url, LOOPBACK) == expected


def test_one_inner_address_among_public_ones_is_enough_to_refuse(
    no_connection, monkeypatch
) -> None:
    for addresses in (("8.8.8.8", "10.0.0.1"), ("2606:4700::1", "::1")):
        resolves(monkeypatch, [addresses])
        assert code("https://both.example/") == "host_forbidden"


def test_a_name_is_looked_up_once_and_the_address_checked_is_the_one_used(monkeypatch) -> None:
    # a rebinding name server: allowed when asked first, forbidden from then on
    asked = resolves(monkeypatch, [("127.0.0.1",), ("127.0.0.2",)])
    with serving(answer(b"found")) as server:
        assert fetch(f"http://rebinding.example:{server.port}/", LOOPBACK) == b"found"
    assert asked == ["rebinding.example"]


def resolves(monkeypatch, answers: list[tuple[str, ...]]) -> list[str]:
    """Look-ups of names get ``answers`` in turn; returns the names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host, port, *rest, **named):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            asked.append(host)
            addresses = answers[min(len(asked), len(answers)) - 1]
            return [f for address in addresses for f in real(address, port, **named)]
        return real(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_name_server_that_never_answers_costs_the_deadline(monkeypatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **named: over.wait(30))
    try:
        assert code("https://slow.example/", FetchLimits(timeout_s=0.3)) == "fetch_timeout"
    finally:
        over.set()


def drip(start: bytes, piece: bytes) -> Reply:
    """A piece every tenth of a second until the client leaves."""

    def send(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(0.1):
            connection.sendall(piece)

    return send


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"H"), (OK + b"X: ", b"y"), (OK + b"Content-Length: 90000\r\n\r\n", b"z"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nz\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), (OK + b"Content-Length: 5\r\n\r\n", b""),
    ],
    ids=["status", "header", "body", "chunks", "early hints", "silence"],
)  # fmt: skip
def test_a_server_that_drips_costs_the_deadline(start: bytes, piece: bytes) -> None:
    with serving(drip(start, piece)) as server:
        assert code(server.url, LOOPBACK) in ("fetch_timeout", "fetch_failed")


def test_a_tls_handshake_that_never_ends_costs_the_deadline() -> None:
    with serving(drip(b"", b"")) as server:
        assert code(f"https://127.0.0.1:{server.port}/", LOOPBACK) == "fetch_timeout"


def flood(start: bytes, piece: bytes) -> Reply:
    """Pieces without end, as fast as they are taken."""

    def send(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(piece * 100)

    return send


@pytest.mark.parametrize(
    ("start", "piece", "expected"),
    [
        (OK + b"\r\n", bytes(1000), "too_large"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + bytes(1000) + b"\r\n", "too_large"),
        (OK + b"Content-Length: 99999999999\r\n\r\n", bytes(1000), "too_large"),
        (OK, b"X-Header: and another one\r\n", "fetch_failed"),
        (OK + b"X: ", b"one header without end", "fetch_failed"),
        (b"", b"no HTTP at all", "fetch_failed"),
        (OK + b"Content-Length: -1\r\n\r\n", bytes(10), "fetch_failed"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", bytes(10), "fetch_failed"),
    ],
    ids=["body", "chunks", "length", "headers", "header", "noise", "negative", "contradiction"],
)  # fmt: skip
def test_a_server_without_end_is_left_at_the_limit(
    start: bytes, piece: bytes, expected: str
) -> None:
    with serving(flood(start, piece)) as server:
        assert code(server.url, LOOPBACK) == expected


def test_a_compressed_answer_is_never_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with serving(answer(bomb, 200, "Content-Encoding: gzip")) as server:
        assert code(server.url, LOOPBACK) == "fetch_failed"
