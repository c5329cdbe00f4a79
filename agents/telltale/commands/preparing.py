"""What must be there before workers start: migrations, topics, cues, known examples.

Done again, it changes nothing.

In: wiring and a callback that tells a person. Out: nothing; raises what the stores and the broker raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from telltale.app import Wiring
from telltale.models.files import mini_encoder_revision, mini_folder
from telltale.settings import Settings
from telltale.topics import DEAD_TOPICS, TOPICS

EXEMPLARS = "exemplars.safetensors"


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
    if notice := load_exemplars(wiring):
        say(notice)


def load_exemplars(wiring: Wiring) -> str | None:
    """Bring the known examples up to the file of this profile; what to tell a person, if anything.

    Examples of another encoder would be compared with vectors of this one: they are left out.
    """
    from telltale.stores import exemplars

    path = exemplars_file(wiring.given)
    described = exemplars.about(path)
    if described is None:
        return None
    mini = mini_encoder_revision() if wiring.given.profile == "mini" else None
    encoder = mini or wiring.encoder.revision
    if described.encoder != encoder:
        return (
            f"known examples are not loaded: {path} was made with encoder {described.encoder}, "
            f"in use is {encoder}; make them again with 'telltale lab exemplars'"
        )
    changed = exemplars.load(path, wiring.cue_store)
    return f"loaded {len(described.exemplars)} known examples" if changed else None


def exemplars_file(settings: Settings) -> Path:
    """Where the known examples of a profile lie: in the package, or under ``home``."""
    return (mini_folder() if settings.profile == "mini" else settings.home) / EXEMPLARS


def _touch_topics(settings: Settings) -> None:
    """The mock broker takes no orders to create; it makes a topic when it is first asked about."""
    from confluent_kafka import Producer

    from telltale.delivery.kafka import confluent_options, topic_name

    client = Producer(confluent_options(settings))
    for topic in (*TOPICS, *DEAD_TOPICS):
        client.list_topics(topic_name(settings, topic.name), timeout=10)
