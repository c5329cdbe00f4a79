"""Fetch an uploader's address without being turned against our own network.

In: an http(s) address nobody has vouched for. Out: its bytes, at most ``max_bytes``. Raises
``Rejected`` with a published code. Every hop is resolved once, every address it resolves to is
checked, and the connection goes to the address that was checked (no second look-up that a
rebinding name server could answer differently). Redirects are followed by hand, each like the first.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx

from telltale.errors import Rejected

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# RFC 6052 / 8215 prefixes that carry an IPv4 address in their last 32 bits
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK_BYTES = 64 * 1024


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
    deadline = time.monotonic() + limits.timeout_s
    for _ in range(limits.max_redirects + 1):
        answer = _one_hop(uri, limits, deadline)
        if isinstance(answer, bytes):
            return answer
        uri = answer
    raise Rejected("fetch_failed", f"more than {limits.max_redirects} redirects")


def public(address: Address) -> bool:
    """Whether an address belongs to the public internet, also when it hides an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if hidden is None and any(address in net for net in NAT64):
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if hidden is not None and not public(hidden):
            return False
    return address.is_global and not address.is_multicast


def _one_hop(uri: str, limits: FetchLimits, deadline: float) -> bytes | str:
    host, port = _host(uri, limits)
    address = _resolve(host, port, limits.allow_hosts)
    transport = _PinnedTransport(host, address)
    left = deadline - time.monotonic()
    if left <= 0:
        raise Rejected("fetch_timeout", f"not fetched within {limits.timeout_s:g} s")
    try:
        with (
            httpx.Client(transport=transport, timeout=left, trust_env=False) as client,
            client.stream(
                "GET", uri, headers={"user-agent": "telltale", "accept": "image/*"}
            ) as reply,
        ):
            if reply.status_code in REDIRECTS and "location" in reply.headers:
                return urljoin(uri, reply.headers["location"])
            if reply.status_code != 200:
                raise Rejected("http_status", f"the server answered {reply.status_code}")
            return _body(reply, limits, deadline)
    except httpx.TimeoutException as error:
        raise Rejected("fetch_timeout", f"not fetched within {limits.timeout_s:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Rejected("fetch_failed", f"{type(error).__name__}: {error}") from error


def _body(reply: httpx.Response, limits: FetchLimits, deadline: float) -> bytes:
    said = reply.headers.get("content-length", "")
    if said.isdigit() and int(said) > limits.max_bytes:
        raise Rejected("too_large", f"{said} bytes; at most {limits.max_bytes} are accepted")
    body = bytearray()
    # raw, undecoded: a compressed transfer could unpack to any size
    for chunk in reply.iter_raw(CHUNK_BYTES):
        body += chunk
        if len(body) > limits.max_bytes:
            raise Rejected("too_large", f"over {limits.max_bytes} bytes")
        if time.monotonic() > deadline:
            raise Rejected("fetch_timeout", f"not fetched within {limits.timeout_s:g} s")
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise Rejected("fetch_failed", "the server compressed the picture although not asked to")
    return bytes(body)


def _host(uri: str, limits: FetchLimits) -> tuple[str, int]:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Rejected("uri_unsupported", f"the address cannot be read: {error}") from error
    if parts.scheme not in limits.schemes:
        raise Rejected(
            "uri_unsupported",
            f"scheme {parts.scheme!r}; accepted are {', '.join(limits.schemes)} and telltale:sha256/",
        )
    if not host:
        raise Rejected("uri_unsupported", "the address names no host")
    return host, port or (443 if parts.scheme == "https" else 80)


def _resolve(host: str, port: int, allowed: Iterable[str]) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Rejected("host_unresolvable", f"{host}: {error}") from error
    addresses = [ipaddress.ip_address(str(f[4][0]).split("%")[0]) for f in found]
    for address in addresses:
        if not public(address) and not _allowed(host, address, allowed):
            raise Rejected("host_forbidden", f"{host} is {address}, which is not public")
    return str(addresses[0])


def _allowed(host: str, address: Address, allowed: Iterable[str]) -> bool:
    for entry in allowed:
        if entry == host:
            return True
        try:
            if address in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # a host name
    return False


class _PinnedBackend(httpcore.SyncBackend):
    """Connects to the address that was checked, whatever name is asked for."""

    def __init__(self, host: str, address: str) -> None:
        self._host, self._address = host, address

    def connect_tcp(self, host: str, port: int, **options: object) -> httpcore.NetworkStream:
        if host.strip("[]") != self._host:
            raise httpcore.ConnectError(f"{host} was not checked")
        return super().connect_tcp(self._address, port, **options)  # type: ignore[arg-type]


class _PinnedTransport(httpx.HTTPTransport):
    """TLS still verifies the name; only the TCP connection is pinned."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(retries=0, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            network_backend=_PinnedBackend(host, address),
        )
