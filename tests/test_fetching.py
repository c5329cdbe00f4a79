"""Addresses: which are public, and what a fetch from a real server on loopback gives."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from telltale import fetching
from telltale.errors import Rejected
from telltale.fetching import FetchLimits, fetch, public
from tests.hostile.servers import answer, serving

LOOPBACK = FetchLimits(allow_hosts=("127.0.0.0/8",), timeout_s=5)


def code(uri: str, limits: FetchLimits = LOOPBACK) -> str:
    with pytest.raises(Rejected) as refusal:
        fetch(uri, limits)
    return refusal.value.code


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
        "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.0.2.1",
        "192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:0:7f00:1", "::ffff:8.8.8.8",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "100::1", "2001::1",
        "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1",
        "2606:4700::5efe:7f00:1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "5f00::1",
    ],
)  # fmt: skip
def test_addresses_that_lead_inside_are_not_public(address: str) -> None:
    assert not public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::8b", "64:ff9b::808:808"],
)  # fmt: skip
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert public(ipaddress.ip_address(address))


def test_a_picture_is_fetched_as_it_is() -> None:
    with serving(answer(b"bytes of a picture")) as server:
        assert fetch(f"{server.url}/a.jpg", LOOPBACK) == b"bytes of a picture"
    assert b"accept-encoding: identity" in server.requests[0].lower()


def test_redirects_are_followed_up_to_the_limit() -> None:
    with serving(answer(b"", 302, "Location: /next"), answer(b"found")) as server:
        assert fetch(server.url, LOOPBACK) == b"found"
    with serving(answer(b"", 302, "Location: /again")) as server:
        assert code(server.url) == "fetch_failed"
    assert len(server.requests) == LOOPBACK.max_redirects + 1


@pytest.mark.parametrize("status", [201, 204, 304, 401, 404, 500])
def test_what_is_not_200_is_refused_with_the_status(status: int) -> None:
    with serving(answer(b"", status)) as server:
        assert code(server.url) == "http_status"


def test_an_empty_answer_is_no_bytes() -> None:
    with serving(answer(b"")) as server:
        assert fetch(server.url, LOOPBACK) == b""


def test_an_answer_that_ends_early_is_refused() -> None:
    with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this") as server:
        assert code(server.url) == "fetch_failed"


def test_nobody_listening_is_a_failed_fetch() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert code(f"http://127.0.0.1:{port}/") == "fetch_failed"


def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch) -> None:
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")  # nothing listens on the first
    with serving(answer(b"found")) as server:
        assert fetch(f"http://cdn.example:{server.port}/", LOOPBACK) == b"found"


def test_proxies_from_the_environment_are_not_used(monkeypatch) -> None:
    with serving(answer(b"from the proxy")) as proxy, serving(answer(b"direct")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert fetch(server.url, LOOPBACK) == b"direct"
    assert proxy.requests == []


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with serving(answer(b"secret"), tls=certified(tmp_path, "127.0.0.1")) as server:
        assert code(f"https://127.0.0.1:{server.port}/") == "fetch_failed"


def test_tls_checks_the_name_and_not_the_pinned_address(tmp_path: Path, monkeypatch) -> None:
    trusted = certified(tmp_path, "cdn.example")
    authorities = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    monkeypatch.setattr(fetching, "_authorities", lambda: authorities)
    resolving(monkeypatch, "127.0.0.1")
    with serving(answer(b"secured"), tls=trusted) as server:
        assert fetch(f"https://cdn.example:{server.port}/", LOOPBACK) == b"secured"
        assert code(f"https://other.example:{server.port}/") == "fetch_failed"


@pytest.mark.parametrize("entry", ["cdn.internal", "CDN.internal.", "127.0.0.1/32"])
def test_an_allowed_host_or_range_may_be_private(entry: str, monkeypatch) -> None:
    resolving(monkeypatch, "127.0.0.1")
    with serving(answer(b"inside")) as server:
        limits = FetchLimits(allow_hosts=(entry,))
        assert fetch(f"http://cdn.internal:{server.port}/", limits) == b"inside"
        if not entry[0].isdigit():
            assert code(f"http://else.internal:{server.port}/", limits) == "host_forbidden"


def test_a_host_that_no_name_server_knows_is_refused(monkeypatch) -> None:
    def unknown(*args, **named):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert code("https://nowhere.example/") == "host_unresolvable"


def resolving(monkeypatch, *addresses: str) -> None:
    """Every host name resolves to these addresses; numeric look-ups of them stay real."""
    real = socket.getaddrinfo

    def look_up(host, port, *rest, **named):
        wanted = [host] if host in addresses else addresses
        return [found for address in wanted for found in real(address, port, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """A server's TLS with a certificate for ``name`` that only ``folder/cert.pem`` vouches for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
