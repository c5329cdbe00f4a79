"""What must be there before workers start: migrations, topics, cues. Done again, it changes nothing.

In: wiring and a callback that tells a person. Out: nothing; raises what the stores and the broker raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from telltale.app import Wiring


def prepare(wiring: Wiring, say: Callable[[str], object]) -> None:
    """Apply migrations, create missing topics, load the cues under the encoder in use."""
    from telltale.delivery.topics_admin import create_topics
    from telltale.stores.migrate import migrate

    applied = migrate(wiring.postgres_dsn)
    if applied:
        say(f"applied {len(applied)} migrations")
    created = asyncio.run(create_topics(wiring.settings))
    if created:
        say(f"created {len(created)} topics")
    if wiring.load_cues():
        say(f"loaded {len(wiring.cues)} cues for {wiring.encoder.revision}")
