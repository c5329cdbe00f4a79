"""Apache Kafka's jars, fetched once by Maven coordinates through jgo and kept for every home.

In: a cache directory. Out: paths of the jars. Raises ``JarsUnreachable`` when they are neither
cached nor to be fetched. Needs neither Maven nor a Java on the machine: jgo resolves by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from telltale.errors import TelltaleError

COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.3.0",
    "org.apache.kafka:kafka-tools:4.3.0",
    # named, or a resolver may take the older client that a transitive dependency asks for
    "org.apache.kafka:kafka-clients:4.3.0",
    # without a binding for slf4j the broker runs and logs nothing
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
)


class JarsUnreachable(TelltaleError):
    """The jars are not cached and cannot be fetched."""


def cache_dir() -> Path:
    """``TELLTALE_CACHE``, or a folder in the user's cache."""
    given = os.environ.get("TELLTALE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "telltale"


def kafka_jars(cache: Path, say: Callable[[str], object]) -> list[str]:
    """Paths of all jars; from the cache without any network once they have been fetched."""
    manifest = cache / "kafka-jars.json"
    if (kept := _kept(manifest)) is not None:
        return kept
    say("fetching Apache Kafka (54 MB, once)")
    import jgo

    try:
        found = jgo.build("+".join(COORDINATES), cache_dir=str(cache / "jgo"))
        jars = [str(jar) for jar in found.all_jars]
    except Exception as error:  # jgo lets through whatever its resolver and the network raise
        raise JarsUnreachable(f"{type(error).__name__}: {error}") from error
    cache.mkdir(parents=True, exist_ok=True)
    fresh = manifest.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({"coordinates": COORDINATES, "jars": jars}))
    fresh.replace(manifest)
    return jars


def _kept(manifest: Path) -> list[str] | None:
    try:
        content = json.loads(manifest.read_text())
    except (OSError, ValueError):
        return None
    jars: list[str] = content.get("jars", [])
    same = tuple(content.get("coordinates", ())) == COORDINATES
    return jars if same and jars and all(Path(j).exists() for j in jars) else None
