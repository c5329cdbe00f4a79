"""Apache Kafka's jars, fetched once by Maven coordinates through jgo and kept for every home.

In: a cache directory. Out: paths of the jars. Raises ``JarsUnreachable`` when they are neither
cached nor to be fetched. Which jars, and their SHA-256, stands in ``kafka-jars.txt``: resolving the
coordinates anew takes longer than the jars themselves. Needs neither Maven nor a Java on the machine.
``jgo.build`` is not used: it would fetch a JDK to tell module jars from others, which a class path
does not ask.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from telltale.errors import TelltaleError

FETCHES = 8  # at once; a repository's latency, not its bandwidth, is what one waits for

Say = Callable[[str], object]
Pins = dict[str, str]
"""SHA-256 by Maven coordinate ``group:artifact:version``."""


class JarsUnreachable(TelltaleError):
    """The jars are not cached and cannot be fetched."""


def cache_dir() -> Path:
    """``TELLTALE_CACHE``, or a folder in the user's cache."""
    given = os.environ.get("TELLTALE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "telltale"


def pinned() -> Pins:
    """The jars that make a broker."""
    text = resources.files("telltale.stack").joinpath("kafka-jars.txt").read_text()
    lines = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {coordinate: digest for coordinate, _, digest in lines}


def kafka_jars(cache: Path, say: Say) -> list[str]:
    """Paths of all jars; from the cache without any network once they have been fetched."""
    if (kept := cached_jars(cache)) is not None:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with _turn(cache / "fetch.lock"):
        if (kept := cached_jars(cache)) is not None:  # another home fetched them meanwhile
            return kept
        say("fetching Apache Kafka (54 MB, once)")
        # a folder a release: a broker of another one may be running from its own
        folder = cache / f"kafka-jars-{hashlib.sha256(repr(pinned()).encode()).hexdigest()[:12]}"
        half = folder.with_suffix(".new")
        for left in (folder, half):  # by a fetch that was cut off
            shutil.rmtree(left, ignore_errors=True)
        names = _fetch(half, say)
        half.rename(folder)
        jars = [str(folder / name) for name in names]
        fresh = _manifest(cache).with_suffix(".new")
        fresh.write_text(json.dumps({"pinned": pinned(), "jars": jars}))
        fresh.replace(_manifest(cache))
    return jars


def cached_jars(cache: Path) -> list[str] | None:
    """Paths of the jars if an earlier fetch left all of them there, else None."""
    try:
        content = json.loads(_manifest(cache).read_text())
    except (OSError, ValueError):
        return None
    jars: list[str] = content.get("jars", [])
    same = content.get("pinned") == pinned()
    return jars if same and jars and all(Path(jar).exists() for jar in jars) else None


def _fetch(folder: Path, say: Say) -> list[str]:
    """Fetch every jar below ``folder``; their paths in it."""
    pins, names = pinned(), []
    try:
        context = _context(folder)
        with ThreadPoolExecutor(FETCHES) as pool:
            for path in pool.map(lambda pin: _jar(context, *pin), pins.items()):
                names.append(str(path.relative_to(folder)))
                if len(names) % 20 == 0 or len(names) == len(pins):
                    say(f"fetched {len(names)} of {len(pins)} jars")
    except Exception as error:  # jgo lets through whatever the network raises
        shutil.rmtree(folder, ignore_errors=True)
        raise JarsUnreachable(f"{type(error).__name__}: {error}") from error
    return names


def _context(repository: Path) -> Any:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    # a mirror is named as 'central' under [repositories] in jgo's own settings file
    remotes = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(repo_cache=repository, remote_repos=remotes)


def _jar(context: Any, coordinate: str, digest: str) -> Path:
    path = Path(context.create_dependency(coordinate).artifact.resolve())
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise JarsUnreachable(f"{coordinate} is not the jar it should be: its SHA-256 differs")
    return path


def _manifest(cache: Path) -> Path:
    return cache / "kafka-jars.json"


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
