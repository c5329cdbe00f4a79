"""Settings about security reach each of the three clients in its own words."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer

from telltale.delivery import kafka
from telltale.delivery.app import stage_app
from telltale.delivery.metrics import Metrics
from telltale.delivery.tracing import tracing
from telltale.delivery.transport import FETCH_WAIT_MS
from telltale.errors import UsageError
from telltale.events import ImageUploaded
from telltale.settings import load_settings
from telltale.stages.contract import Answered, Batch, Stage

SCRAM = {
    "kafka_bootstrap": "a:1,b:2",
    "kafka_security": "SASL_SSL",
    "kafka_username": "me",
    "kafka_password": "secret",
}


def test_sasl_over_tls_is_told_to_every_client() -> None:
    settings = load_settings(**SCRAM)
    faust = kafka.faust_credentials(settings)
    assert (faust.username, faust.password) == ("me", "secret")
    assert (faust.protocol.value, faust.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert faust.ssl_context.check_hostname
    aio = kafka.aiokafka_options(settings)
    assert aio["security_protocol"] == "SASL_SSL"
    assert aio["sasl_plain_password"] == "secret"
    assert aio["ssl_context"] is not None
    confluent = kafka.confluent_options(settings)
    assert confluent["bootstrap.servers"] == "a:1,b:2"
    assert confluent["security.protocol"] == "SASL_SSL"
    assert confluent["sasl.mechanism"] == "SCRAM-SHA-512"


def test_plain_connections_carry_no_credentials() -> None:
    settings = load_settings(kafka_bootstrap="a:1")
    assert kafka.faust_credentials(settings) is None
    assert kafka.ssl_context(settings) is None
    assert "sasl.mechanism" not in kafka.confluent_options(settings)


def test_a_file_for_tls_that_is_not_there_is_named() -> None:
    settings = load_settings(**SCRAM, kafka_ca_file="/nowhere/ca.pem")
    with pytest.raises(UsageError, match="TELLTALE_KAFKA_CA_FILE"):
        kafka.ssl_context(settings)


def test_without_a_broker_the_setting_is_named() -> None:
    with pytest.raises(UsageError, match="TELLTALE_KAFKA_BOOTSTRAP"):
        kafka.bootstrap(load_settings(kafka_bootstrap=None))


def test_names_carry_the_prefix_and_lose_it_again() -> None:
    settings = load_settings(topic_prefix="eu.")
    assert kafka.topic_name(settings, "images.uploaded") == "eu.images.uploaded"
    assert kafka.plain_name(settings, "eu.images.uploaded") == "images.uploaded"
    assert kafka.group_name(settings, "judge") == "eu.telltale-judge"


class _Nothing(Stage):
    name = "nothing"
    version = "1"
    reads = (ImageUploaded,)
    batch = Batch(max_events=1)

    def process(self, items):
        return [Answered() for _ in items]


def test_a_broker_may_not_keep_a_worker_waiting_for_events_as_long_as_faust_lets_it() -> None:
    async def waits() -> tuple[int, int]:
        settings = load_settings(kafka_bootstrap="127.0.0.1:1")
        app = stage_app(_Nothing(), settings, Metrics(), tracing(None), lambda *_: None)
        asked = app.consumer._new_consumer_thread()._create_worker_consumer(app.transport)
        # the name under which the client keeps it is not public: this is where a new one would show
        told = AIOKafkaConsumer(fetch_max_wait_ms=7)
        return asked._fetch_max_wait_ms, told._fetch_max_wait_ms

    assert asyncio.run(waits()) == (FETCH_WAIT_MS, 7)
