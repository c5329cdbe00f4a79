"""A broker that asks for a password over TLS: the real broker, with an authority of the test's own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from harness import Cluster, upload, wait
from launching import SETTLE_S, START_S, TELLTALE, stand_in

from telltale.delivery import kafka
from telltale.delivery.topics_admin import require_topics
from telltale.errors import UsageError
from telltale.settings import load_settings
from telltale.stack.supervisor import free_port
from telltale.topics import UPLOADED

USER, PASSWORD = "moderator", "correct horse"


def authority(folder: Path) -> Path:
    """A self-signed authority; the certificate's file."""
    made = folder / "ca.pem"
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ours",
        "-keyout", str(folder / "ca.key"), "-out", str(made),
    )  # fmt: skip
    return made


def server_identity(folder: Path, ca: Path) -> Path:
    """A key and a certificate for 127.0.0.1 of that authority, in one file as Kafka reads it."""
    key, asked, signed = (folder / f"server.{kind}" for kind in ("key", "csr", "crt"))
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(asked))  # fmt: skip
    openssl("x509", "-req", "-in", str(asked), "-CA", str(ca), "-CAkey", str(ca.with_suffix(".key")),
            "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", str(signed))  # fmt: skip
    both = folder / "server.pem"
    both.write_text(key.read_text() + signed.read_text())
    return both


def openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tls")
    ca = authority(folder)
    return {"ca": ca, "server": server_identity(folder, ca)}


@pytest.fixture(scope="module")
def broker(tls, tmp_path_factory) -> Iterator[Broker]:
    """One with a plain listener for the auditor, and a secured one for the product."""
    port = free_port()
    login = "org.apache.kafka.common.security"
    broker = Broker(tmp_path_factory.mktemp("secured"), {
        "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},"
        f"SASL_SSL://127.0.0.1:{port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},SASL_SSL://127.0.0.1:{port}",
        "listener.security.protocol.map":
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config":
            f'{login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config":
            f"{login}.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(tls["server"]),
    })  # fmt: skip
    broker.start()
    try:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        user = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
        for done in admin.alter_user_scram_credentials([user]).values():
            done.result(60)
        broker.secured = f"127.0.0.1:{port}"
        yield broker
    finally:
        broker.kill()


@pytest.fixture(scope="module")
def cluster(broker, tmp_path_factory) -> Cluster:
    return Cluster(broker.bootstrap, tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def given(broker, cluster, tls) -> dict[str, str]:
    """What an operator sets."""
    return {
        "kafka_bootstrap": broker.secured,
        "kafka_security": "SASL_SSL",
        "kafka_username": USER,
        "kafka_password": PASSWORD,
        "kafka_ca_file": str(tls["ca"]),
        "topic_prefix": cluster.prefix,
    }


def environment(given: dict[str, str]) -> dict[str, str]:
    return {f"TELLTALE_{name.upper()}": value for name, value in given.items()}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_every_client_gets_in_with_the_right_password(given, mechanism) -> None:
    settings = load_settings(**given, kafka_sasl_mechanism=mechanism)
    asyncio.run(require_topics(settings, [UPLOADED.name]))  # aiokafka
    found = AdminClient(kafka.confluent_options(settings)).list_topics(timeout=60).topics
    assert kafka.topic_name(settings, UPLOADED.name) in found


def test_a_worker_answers_over_tls(cluster, given) -> None:
    cluster.send(upload("one"), upload("two"))
    with stand_in(cluster, "batched", **environment(given)) as worker:
        worker.ready(START_S)
        cluster.answers({"one", "two"})
        wait(lambda: worker.health("batched")["lag_events"] == 0, SETTLE_S, "all acknowledged")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kafka_password": "guessed"}, "TELLTALE_KAFKA_PASSWORD"),
        ({"kafka_password": ""}, "TELLTALE_KAFKA_PASSWORD must be set"),
        ({"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "TELLTALE_KAFKA_SASL_MECHANISM"),
        ({"kafka_ca_file": None}, "TELLTALE_KAFKA_CA_FILE"),
    ],
)
def test_a_setting_that_is_wrong_is_named(given, wrong, named) -> None:
    settings = load_settings(**{**given, **wrong})
    with pytest.raises(UsageError, match=named):
        asyncio.run(require_topics(settings, [UPLOADED.name]))


@pytest.mark.parametrize(
    "command",
    [
        ("topics", "list"),
        ("watch", "--count", "1"),
        ("submit", __file__),
        ("dead", "list"),
        ("replay", "images.uploaded"),
    ],
    ids=lambda c: c[0],
)
def test_every_command_names_a_wrong_password_and_does_not_show_it(given, command) -> None:
    unused = {"postgres_dsn": "postgresql://unused", "redis_url": "redis://unused"}
    needed = {} if command[0] in ("topics", "watch") else unused
    wrong = environment({**given, **needed, "kafka_password": "guessed"})
    done = subprocess.run(
        [sys.executable, TELLTALE, *command], env=wrong, capture_output=True, text=True, timeout=START_S, check=False
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "TELLTALE_KAFKA_PASSWORD is wrong" in done.stderr
    assert "guessed" not in done.stderr
