"""Fetch an uploader's address without being turned against our own network.

In: an http(s) address nobody has vouched for. Out: its bytes, at most ``max_bytes``. Raises
``Rejected`` with a published code. Every hop is resolved once, every address it resolves to is
checked, and the connection goes to an address that was checked (no second look-up that a
rebinding name server could answer differently). Redirects are followed by hand, each like the
first. One deadline bounds all of it: look-up, connection, TLS, headers and body.
"""

from __future__ import annotations

import functools
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from telltale.errors import Rejected

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK_BYTES = 64 * 1024
# identity: a compressed transfer could unpack to any size
HEADERS = {"user-agent": "telltale", "accept": "image/*, */*;q=0.1", "accept-encoding": "identity"}

# What the standard library calls global and is not, or leads elsewhere.
NOT_PUBLIC = tuple(
    ipaddress.ip_network(net)
    for net in (
        "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata service
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's host agent, at a public address
        "2001::/23",  # IETF protocol assignments; Teredo carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries an IPv4 address
        "3fff::/20",  # documentation
    )
)
# The one part of IPv6 from which public addresses are given (RFC 4291); everything outside is
# local, reserved, or an IPv4 address in other clothes.
UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: how an IPv6-only network reaches IPv4
ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: third word of an address that carries an IPv4 one


@dataclass(frozen=True)
class FetchLimits:
    """Bounds of one fetch; seconds and bytes."""

    schemes: tuple[str, ...] = ("https", "http")
    allow_hosts: tuple[str, ...] = ()
    timeout_s: float = 10.0
    max_bytes: int = 25 * 1024 * 1024
    max_redirects: int = 3


def fetch(uri: str, limits: FetchLimits) -> bytes:
    """The bytes behind ``uri``. Raises ``Rejected``."""
    deadline = _Deadline(limits.timeout_s)
    url = _parsed(uri)
    for _ in range(limits.max_redirects + 1):
        answer = _one_hop(url, limits, deadline)
        if isinstance(answer, bytes):
            return answer
        url = answer
    raise Rejected("fetch_failed", f"more than {limits.max_redirects} redirects")


def public(address: Address) -> bool:
    """Whether an address belongs to the public internet, also when it hides an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in NAT64:
            return public(hidden)
        if address not in UNICAST:
            return False
        if (int(address) >> 32) & 0xFFFFFFFF in ISATAP and not public(hidden):
            return False
    if any(address in net for net in NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def _one_hop(url: httpx.URL, limits: FetchLimits, deadline: _Deadline) -> bytes | httpx.URL:
    host, port = _host(url, limits)
    addresses = _resolve(host, port, limits.allow_hosts, deadline)
    transport = _PinnedTransport(host, addresses, deadline)
    try:
        with (
            httpx.Client(transport=transport, timeout=limits.timeout_s, trust_env=False) as client,
            client.stream("GET", url, headers=HEADERS) as reply,
        ):
            if reply.status_code in REDIRECTS and "location" in reply.headers:
                return url.join(reply.headers["location"])
            if reply.status_code != 200:
                raise Rejected("http_status", f"the server answered {reply.status_code}")
            return _body(reply, limits)
    except httpx.TimeoutException as error:
        raise deadline.passed() from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Rejected("fetch_failed", f"{type(error).__name__}: {error}") from error


def _body(reply: httpx.Response, limits: FetchLimits) -> bytes:
    if reply.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Rejected("fetch_failed", "the server compressed the picture although not asked to")
    said = reply.headers.get("content-length", "")
    if said.isdigit() and int(said) > limits.max_bytes:
        raise Rejected("too_large", f"{said} bytes; at most {limits.max_bytes} are accepted")
    body = bytearray()
    for chunk in reply.iter_raw(CHUNK_BYTES):
        body += chunk
        if len(body) > limits.max_bytes:
            raise Rejected("too_large", f"over {limits.max_bytes} bytes")
    return bytes(body)


def _parsed(uri: str) -> httpx.URL:
    # the parser that also makes the request: two parsers may see two hosts in one address
    try:
        return httpx.URL(uri)
    except (httpx.InvalidURL, ValueError) as error:
        raise Rejected("uri_unsupported", f"the address cannot be read: {error}") from error


def _host(url: httpx.URL, limits: FetchLimits) -> tuple[str, int]:
    if url.scheme not in limits.schemes:
        raise Rejected(
            "uri_unsupported",
            f"scheme {url.scheme!r}; accepted are {', '.join(limits.schemes)} and telltale:sha256/",
        )
    host = url.raw_host.decode("ascii")
    if not host:
        raise Rejected("uri_unsupported", "the address names no host")
    return host, url.port or (443 if url.scheme == "https" else 80)


def _resolve(host: str, port: int, allowed: Iterable[str], deadline: _Deadline) -> list[str]:
    try:
        found = _looked_up(host, port, deadline)
    except (OSError, UnicodeError) as error:
        raise Rejected("host_unresolvable", f"{host}: {error}") from error
    names = [str(f[4][0]) for f in found]
    for name in names:
        address = ipaddress.ip_address(name.split("%")[0])
        if not public(address) and not _allowed(host, address, allowed):
            raise Rejected("host_forbidden", f"{host} is {address}, which is not public")
    return list(dict.fromkeys(names))


def _looked_up(host: str, port: int, deadline: _Deadline) -> list[tuple[Any, ...]]:
    """``getaddrinfo``, which has no timeout of its own, waited for until the deadline only."""
    answer: queue.SimpleQueue[object] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    try:
        found = answer.get(timeout=max(deadline.left_s(), 0.001))
    except queue.Empty:
        raise deadline.passed() from None
    if isinstance(found, Exception):
        raise found
    return found  # type: ignore[return-value]  # the queue carries one of the two


def _allowed(host: str, address: Address, allowed: Iterable[str]) -> bool:
    for entry in allowed:
        if entry.lower().rstrip(".") == host.lower().rstrip("."):
            return True
        try:
            if address in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # a host name
    return False


class _Deadline:
    """The moment by which a fetch is over, whatever it is doing then."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds left, at or below 0 when there are none."""
        return self._at - time.monotonic()

    def passed(self) -> Rejected:
        """What to raise once it has passed."""
        return Rejected("fetch_timeout", f"not fetched within {self._timeout_s:g} s")


class _DeadlineStream(httpcore.NetworkStream):
    """Every wait ends at the deadline, so that a byte a second is not for ever in time."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._left(httpcore.ConnectTimeout)
        inner = self._inner.start_tls(ssl_context, server_hostname, left)
        return _DeadlineStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)

    def _left(self, late: type[httpcore.TimeoutException]) -> float:
        left = self._deadline.left_s()
        if left <= 0:
            raise late("deadline")
        return left


class _PinnedBackend(httpcore.SyncBackend):
    """Connects to the addresses that were checked, in turn, whatever name is asked for."""

    def __init__(self, host: str, addresses: list[str], deadline: _Deadline) -> None:
        self._host, self._addresses, self._deadline = host, addresses, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} was not checked")
        for address in self._addresses if host.strip("[]") == self._host else ():
            left = self._deadline.left_s()
            if left <= 0:
                raise httpcore.ConnectTimeout("deadline")
            try:
                stream = super().connect_tcp(address, port, left, None, socket_options)
            except httpcore.ConnectError as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure


class _PinnedTransport(httpx.HTTPTransport):
    """TLS still verifies the name; only the TCP connection is pinned."""

    def __init__(self, host: str, addresses: list[str], deadline: _Deadline) -> None:
        super().__init__(verify=_authorities(), retries=0, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=_authorities(), network_backend=_PinnedBackend(host, addresses, deadline)
        )


@functools.cache
def _authorities() -> ssl.SSLContext:
    """The public certificate authorities (certifi's); reading them takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)
