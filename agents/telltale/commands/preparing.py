"""What must be there before workers start: migrations, topics, cues. Done again, it changes nothing.

In: wiring and a callback that tells a person. Out: nothing; raises what the stores and the broker raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from telltale.app import Wiring
from telltale.settings import Settings
from telltale.topics import DEAD_TOPICS, TOPICS


def prepare(wiring: Wiring, say: Callable[[str], object]) -> None:
    """Apply migrations, create missing topics, load the cues under the encoder in use."""
    from telltale.delivery.topics_admin import create_topics
    from telltale.stores.migrate import migrate

    applied = migrate(wiring.postgres_dsn)
    if applied:
        say(f"applied {len(applied)} migrations")
    if wiring.endpoints is not None and wiring.endpoints.broker == "mock":
        _touch_topics(wiring.settings)
    elif created := asyncio.run(create_topics(wiring.settings)):
        say(f"created {len(created)} topics")
    if wiring.load_cues():
        say(f"loaded {len(wiring.cues)} cues for {wiring.encoder.revision}")


def _touch_topics(settings: Settings) -> None:
    """The mock broker takes no orders to create; it makes a topic when it is first asked about."""
    from confluent_kafka import Producer

    from telltale.delivery.kafka import confluent_options, topic_name

    client = Producer(confluent_options(settings))
    for topic in (*TOPICS, *DEAD_TOPICS):
        client.list_topics(topic_name(settings, topic.name), timeout=10)
