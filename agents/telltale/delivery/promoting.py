"""A replay's verdicts made the live ones.

In: a replay that has run in its shadow. Out: its verdicts and explanations on the live topics, as
they are: same ids, same values, so that whoever has taken one takes no second. A header names where
each lay, by which an interrupted promotion goes on. Explanations go first: a verdict whose
explanation comes with it says so in its source, and the live explain stage draws it no second time.
An image that was uploaded again since the replayed upload keeps the answer to its later upload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from telltale.delivery import kafka
from telltale.delivery.emitting import Emitter, Pace
from telltale.delivery.scanning import Read, Stretch, TopicMissing
from telltale.delivery.shadow import asked_again, events_of, parsed, reads_of
from telltale.errors import EventUnreadable
from telltale.events import PROMOTED, ExplanationReady, VerdictIssued, read_headers
from telltale.settings import Settings
from telltale.topics import EXPLAINED, ISSUED

PROMOTED_HEADER = "telltale.replay.promoted"

Fate = Literal["go", "already", "superseded"]


@dataclass
class Promoted:
    """How a promotion went, or would go. ``unanswered``: replayed images without a verdict yet."""

    verdicts: int = 0
    explanations: int = 0
    undrawn: int = 0  # verdicts without an explanation: the live explain stage draws it
    already: int = 0
    superseded: int = 0
    unanswered: int = 0


@dataclass
class _Plan:
    """What is known before anything is sent."""

    uploads: dict[UUID, tuple[str, datetime]] = field(default_factory=dict)  # by verdict id
    drawn: set[UUID] = field(default_factory=set)  # verdicts that have an explanation
    later: dict[str, datetime] = field(default_factory=dict)  # newest live upload by image
    there: set[str] = field(default_factory=set)  # marks of what was promoted before

    def fate(self, mark: str, verdict_id: UUID) -> Fate:
        if verdict_id not in self.uploads:
            return "superseded"
        image, uploaded_at = self.uploads[verdict_id]
        if image in self.later and self.later[image] > uploaded_at:
            return "superseded"
        return "already" if mark in self.there else "go"


class Promotion:
    """One replay's way onto the live topics. Raises ``UsageError`` if it was never sent."""

    def __init__(self, settings: Settings, topic: str, replay_id: str, prefix: str) -> None:
        self._settings, self._replay_id = settings, replay_id
        self._shadow = settings.model_copy(update={"topic_prefix": prefix})
        self._asked = asked_again(settings, topic, replay_id, prefix)
        self._plan = self._planned()

    def count(self) -> Promoted:
        """What would be sent."""
        return self._run(lambda *_: None)

    @property
    def total(self) -> int:
        """Verdicts and explanations looked at, for a progress bar."""
        return len(self._plan.uploads) + len(self._plan.drawn)

    def send(
        self, rate: float | None = None, progress: Callable[[], object] = lambda: None
    ) -> Promoted:
        """Send what is not there yet, at most ``rate`` a second; returns once it is confirmed."""
        emitter, pace = Emitter(self._settings), Pace(rate)

        def emit(read: Read, headers: list[tuple[str, bytes]]) -> None:
            name = kafka.topic_name(self._settings, read.topic)
            emitter.send(name, read.key, read.value, headers)
            pace.wait()

        done = self._run(emit, emitter.confirm, progress)
        emitter.confirm()
        return done

    def _run(
        self,
        emit: Callable[[Read, list[tuple[str, bytes]]], object],
        between: Callable[[], object] = lambda: None,
        progress: Callable[[], object] = lambda: None,
    ) -> Promoted:
        done = Promoted(unanswered=len(self._asked - {i for i, _ in self._plan.uploads.values()}))
        for read, event in self._explanations():
            progress()
            mark = self._mark(read)
            if self._plan.fate(mark, event.verdict_id) == "go":
                emit(read, _headers(read, mark))
                done.explanations += 1
        between()  # no verdict says that its explanation is there before it is
        for read, verdict_id in self._verdicts():
            progress()
            mark = self._mark(read)
            match self._plan.fate(mark, verdict_id):
                case "go":
                    drawn = verdict_id in self._plan.drawn
                    emit(read, _headers(read, mark, PROMOTED if drawn else None))
                    done.verdicts += 1
                    done.undrawn += not drawn
                case "already":
                    done.already += 1
                case "superseded":
                    done.superseded += 1
        return done

    def _mark(self, read: Read) -> str:
        return f"{self._replay_id}:{read.place}"

    def _planned(self) -> _Plan:
        plan = _Plan()
        began_ms: int | None = None
        for read, verdict_id in self._verdicts():
            event = parsed(read)
            assert isinstance(event, VerdictIssued)
            plan.uploads[verdict_id] = event.image_id, event.uploaded_at
            began_ms = min(read.at_ms, began_ms or read.at_ms)
        plan.drawn = {event.verdict_id for _, event in self._explanations()}
        if began_ms is None:
            return plan
        images = {image for image, _ in plan.uploads.values()}
        for read in reads_of(self._settings, ISSUED.name):
            self._note(plan, read, images)
        # nothing was promoted before there was anything to promote; clocks may differ a little
        since = Stretch(since=datetime.fromtimestamp(began_ms / 1000, UTC) - timedelta(hours=1))
        plan.there |= {
            mark
            for r in reads_of(self._settings, EXPLAINED.name, since)
            if (mark := r.header(PROMOTED_HEADER))
        }
        return plan

    def _note(self, plan: _Plan, read: Read, images: set[str]) -> None:
        """What a live verdict means for the promotion."""
        if (read.key or b"").decode(errors="replace") not in images:
            return
        if mark := read.header(PROMOTED_HEADER):
            plan.there.add(mark)
        event = parsed(read)
        if isinstance(event, VerdictIssued):
            newest = plan.later.get(event.image_id, event.uploaded_at)
            plan.later[event.image_id] = max(newest, event.uploaded_at)

    def _verdicts(self) -> Iterator[tuple[Read, UUID]]:
        """The replay's verdicts, each id once: a repeat is the same verdict."""
        seen: set[UUID] = set()
        for read, event in events_of(self._shadow, ISSUED.name, self._replay_id):
            try:
                verdict_id = read_headers(dict(read.headers), read.value or b"", event).id
            except EventUnreadable:
                continue
            if verdict_id not in seen:
                seen.add(verdict_id)
                yield read, verdict_id

    def _explanations(self) -> Iterator[tuple[Read, ExplanationReady]]:
        """The replay's explanations, one a verdict."""
        seen: set[UUID] = set()
        try:
            for read, event in events_of(self._shadow, EXPLAINED.name, self._replay_id):
                if isinstance(event, ExplanationReady) and event.verdict_id not in seen:
                    seen.add(event.verdict_id)
                    yield read, event
        except TopicMissing:
            return


def _headers(read: Read, mark: str, source: str | None = None) -> list[tuple[str, bytes]]:
    kept = [
        (name, source.encode() if source and name == "ce_source" else value)
        for name, value in read.headers
    ]
    return [*kept, (PROMOTED_HEADER, mark.encode())]
