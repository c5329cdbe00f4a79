"""A consumer as an outsider would write it: a stock Kafka client and the published schemas, nothing of ours.

Reads a topic until it has seen so many events, checks each against its schema, and counts each event
id once, which is all that at-least-once delivery asks of a consumer.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer
from jsonschema import Draft202012Validator, FormatChecker


def consume(
    bootstrap: str, topic: str, schema: Path, count: int, seconds: float, prefix: str = ""
) -> dict[str, dict[str, Any]]:
    """The first ``count`` distinct events of a topic by their id: {'headers', 'key', 'value'}."""
    validator = Draft202012Validator(json.loads(schema.read_text()), format_checker=FormatChecker())
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": str(uuid4()), "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([prefix + topic])
    seen: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + seconds
    try:
        while len(seen) < count and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is None or message.error():
                continue
            headers = {name: value.decode() for name, value in message.headers() or ()}
            value = json.loads(message.value())
            validator.validate(value)
            seen.setdefault(
                headers["ce_id"],
                {"headers": headers, "key": message.key().decode(), "value": value},
            )
    finally:
        consumer.close()
    return seen
