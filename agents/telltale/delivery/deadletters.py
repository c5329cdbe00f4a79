"""Dead letters for a person: found, shown, sent again, set aside.

In: the dead topics. Out: ``Letter``s. What was sent again or set aside is noted in the dead topic
itself, as a message naming the letter's place: a topic cannot lose one message from its middle, and
everybody who looks sees the same. A letter sent again is the message as it was, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from telltale.delivery import deadletter, kafka
from telltale.delivery.emitting import Emitter, Pace
from telltale.delivery.scanning import Read, Scan, Stretch
from telltale.errors import UsageError
from telltale.settings import Settings
from telltale.topics import TOPICS

HANDLED = "telltale.dead.handled"
AS = "telltale.dead.as"
Handled = Literal["redriven", "dropped"]


@dataclass(frozen=True)
class Letter:
    """A dead letter; ``read`` is the message in the dead topic, ``handled`` what was done with it."""

    read: Read
    handled: str = ""

    @property
    def letter_id(self) -> str:
        """``<topic>:<partition>:<offset>`` in the dead topic, without ``.dead``."""
        return f"{self.topic}:{self.read.partition}:{self.read.offset}"

    @property
    def topic(self) -> str:
        """The topic it died in, without prefix."""
        return self.read.topic.removesuffix(".dead")

    @property
    def stage(self) -> str:
        """The stage that gave it up."""
        return self.read.header(deadletter.STAGE)

    @property
    def error(self) -> str:
        """The class of its last error."""
        return self.read.header(deadletter.CLASS)

    @property
    def died_at(self) -> datetime:
        """When it was given up (the broker's clock)."""
        return datetime.fromtimestamp(self.read.at_ms / 1000, UTC)

    @property
    def original_headers(self) -> list[tuple[str, bytes]]:
        """The headers it had."""
        return deadletter.original_headers(self.read.headers)

    def public(self) -> dict[str, object]:
        """For JSON."""
        return {
            "id": self.letter_id,
            "stage": self.stage,
            "error": self.error,
            "message": self.read.header(deadletter.MESSAGE),
            "attempts": int(self.read.header(deadletter.ATTEMPTS) or 0),
            "first_failed": self.read.header(deadletter.FIRST_FAILED),
            "died_at": self.died_at.isoformat(),
            "came_from": {
                "topic": self.read.header(deadletter.TOPIC),
                "partition": int(self.read.header(deadletter.PARTITION) or 0),
                "offset": int(self.read.header(deadletter.OFFSET) or 0),
            },
            "key": _text(self.read.key),
            "handled": self.handled or None,
        }


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


@dataclass(frozen=True)
class Wanted:
    """Which letters: all conditions given must hold."""

    ids: frozenset[str] = frozenset()
    stage: str | None = None
    error: str | None = None
    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    handled: bool = False  # also those already sent again or set aside

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is wanted; time is a matter of what is read."""
        return (
            (not self.ids or letter.letter_id in self.ids)
            and (self.stage is None or letter.stage == self.stage)
            and (self.error is None or letter.error == self.error)
            and (self.handled or not letter.handled)
        )


def find_letters(settings: Settings, wanted: Wanted) -> list[Letter]:
    """The letters wanted, oldest first. Raises ``UsageError`` for ids that are none."""
    names = [t.name for t in TOPICS if wanted.topic in (None, t.name)]
    if not names:
        raise UsageError(f"no topic {wanted.topic!r}")
    letters: list[Letter] = []
    for name in names:
        letters += _of_topic(settings, name)
    missing = wanted.ids - {letter.letter_id for letter in letters}
    if missing:
        raise UsageError(f"no dead letter {', '.join(sorted(missing))}; see 'telltale dead list'")
    found = [x for x in letters if wanted.takes(x) and _within(x, wanted)]
    return sorted(found, key=lambda letter: letter.read.at_ms)


def _within(letter: Letter, wanted: Wanted) -> bool:
    since, until = wanted.since, wanted.until
    return (since is None or letter.died_at >= since) and (until is None or letter.died_at < until)


def _of_topic(settings: Settings, topic: str) -> list[Letter]:
    scan = Scan(settings, f"{topic}.dead", Stretch())
    try:
        reads = list(scan)
    finally:
        scan.close()
    notes = {read.header(HANDLED): read.header(AS) for read in reads if read.header(HANDLED)}
    return [Letter(r, notes.get(r.place, "")) for r in reads if not r.header(HANDLED)]


def handle(
    settings: Settings,
    letters: Iterable[Letter],
    how: Handled,
    rate: float | None = None,
    progress: Callable[[], object] = lambda: None,
) -> int:
    """Send letters again (``redriven``) or set them aside (``dropped``), at most ``rate`` a second.

    A letter is noted as handled only once the broker has it. Returns how many were handled.
    """
    emitter, pace = Emitter(settings), Pace(rate)
    done = 0
    for letter in letters:
        key = letter.read.key
        if how == "redriven":
            name = kafka.topic_name(settings, letter.topic)
            emitter.send(name, key, letter.read.value, letter.original_headers)
            emitter.confirm()
        note = [(HANDLED, letter.read.place.encode()), (AS, how.encode())]
        emitter.send(kafka.topic_name(settings, letter.read.topic), key, None, note)
        emitter.confirm()
        done += 1
        progress()
        pace.wait()
    return done
