"""Events as they are sent fit what is published, and an outsider's consumer reads them off real Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from telltale.events import EVENTS, Envelope, Event, VerdictIssued, read_value, value_bytes
from tests.contract.consumer import consume
from tests.contract.samples import AT, events

SCHEMAS = Path(__file__).parents[2] / "schemas"


def name(event: Event) -> str:
    return f"{type(event).__name__}-{event.image_id}"


def validator(topic: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{topic}.v1.json").read_text())
    return Draft202012Validator(schema, format_checker=FormatChecker())


def envelope(event: Event) -> Envelope:
    return Envelope(
        id=uuid4(), type=event.type_name, subject=event.image_id, time=AT, traceparent="00-1-2-01"
    )


def test_there_is_a_sample_of_every_event() -> None:
    assert {type(e) for e in events()} == set(EVENTS)


@pytest.mark.parametrize("event", events(), ids=name)
def test_what_is_sent_fits_its_schema_and_is_read_again(event: Event) -> None:
    value = value_bytes(event)
    validator(event.topic).validate(json.loads(value))
    assert read_value(event.topic, value) == event


@pytest.mark.parametrize("event", events(), ids=name)
def test_a_value_with_a_field_of_tomorrow_still_fits(event: Event) -> None:
    validator(event.topic).validate({**json.loads(value_bytes(event)), "colour": "blue"})


@pytest.mark.parametrize("event", events(), ids=name)
def test_a_value_without_its_image_id_does_not_fit(event: Event) -> None:
    value = json.loads(value_bytes(event))
    del value["image_id"]
    with pytest.raises(ValidationError):
        validator(event.topic).validate(value)


@pytest.mark.parametrize("event", events(), ids=name)
def test_the_headers_fit_the_asyncapi_document(event: Event) -> None:
    document = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())
    schema = document["components"]["messages"][type(event).__name__]["headers"]
    sent = {k: v.decode() for k, v in envelope(event).headers()}
    Draft202012Validator(schema).validate(sent)
    assert set(sent) <= set(schema["properties"])
    with pytest.raises(ValidationError):
        Draft202012Validator(schema).validate({**sent, "ce_type": "another"})


def test_a_stock_client_and_the_published_schema_suffice_to_read_a_topic(stack) -> None:
    prefix = f"c{uuid4().hex[:8]}."
    topic = prefix + VerdictIssued.topic
    admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": stack.kafka_bootstrap})
    sent = [(envelope(e), e) for e in events() if isinstance(e, VerdictIssued)]
    for made, event in [*sent, *sent]:  # delivery is at least once
        producer.produce(
            topic, key=event.image_id, value=value_bytes(event), headers=made.headers()
        )
    assert producer.flush(30) == 0
    schema = SCHEMAS / f"{VerdictIssued.topic}.v1.json"
    seen = consume(stack.kafka_bootstrap, VerdictIssued.topic, schema, len(sent), 60, prefix)
    assert {i: s["value"]["verdict"]["verdict"] for i, s in seen.items()} == {
        str(made.id): event.verdict.verdict for made, event in sent
    }
    assert {s["key"] for s in seen.values()} == {event.image_id for _, event in sent}
