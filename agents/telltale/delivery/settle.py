"""The end of an event's way: its outputs confirmed, then its message acknowledged.

In: endings in the order of arrival. Out: messages on their topics, acknowledgements as a
contiguous prefix a partition. Outputs of several batches go out together. What a broker does not
confirm is sent again; derived ids make the repeat harmless.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from telltale.delivery.deadletter import dead_letter
from telltale.delivery.flood import Flood
from telltale.delivery.hold import Hold
from telltale.delivery.logs import fields
from telltale.delivery.sending import TOO_LARGE, Sender
from telltale.delivery.state import State
from telltale.delivery.taken import Dead, Outgoing, Resolved, Taken
from telltale.delivery.tracing import Tracing, carried
from telltale.delivery.trial import Ending
from telltale.errors import EventFailed
from telltale.events import Envelope, Event, value_bytes
from telltale.stages.contract import Answered

log = structlog.get_logger()
_LEVEL = logging.getLogger(__name__)  # asked first: a line nobody reads is not made


class Settle:
    """Sends and acknowledges for one stage."""

    def __init__(
        self,
        stage: str,
        version: str,
        prefix: str,
        sender: Sender,
        hold: Hold,
        state: State,
        flood: Flood,
        tracing: Tracing,
    ) -> None:
        self._stage, self._version, self._prefix = stage, version, prefix
        self._sender, self._hold, self._state = sender, hold, state
        self._flood, self._tracing = flood, tracing

    def resolve(self, taken: Taken, ending: Ending) -> Resolved:
        """What to send for an ending, and what to count it as."""
        resolved = Resolved(taken)
        if ending is None:
            return resolved
        resolved.span = self._tracing.begin(taken, self._stage)
        if isinstance(ending, Dead):
            self._bury(resolved, ending)
        else:
            self._answer(resolved, ending)
        return resolved

    def _answer(self, resolved: Resolved, ending: Answered) -> None:
        item = resolved.taken.item
        assert item is not None  # what was not read is not answered
        parent = carried(item.envelope, resolved.span)
        try:
            resolved.outgoing = [self._message(parent, event) for event in ending.events]
        except Exception as error:  # an event that cannot be written is the stage's fault
            self._bury(resolved, Dead(error, 1, time.time()))
        else:
            resolved.outcome = "answered"

    def _bury(self, resolved: Resolved, dead: Dead) -> None:
        resolved.outgoing = [dead_letter(resolved.taken.message, self._stage, dead)]
        resolved.outcome, resolved.error = "dead", dead.error

    def _message(self, parent: Envelope, event: Event) -> Outgoing:
        now = datetime.now(UTC)
        envelope = Envelope.child(parent, event, self._stage, self._version, now)
        return Outgoing(
            self._prefix + event.topic,
            event.image_id.encode(),
            value_bytes(event),
            envelope.headers(),
        )

    async def settle(self, batch: Sequence[Resolved]) -> None:
        """Confirm every output, then acknowledge. Events behind one given back are given back."""
        left: set[tuple[str, int]] = set()
        finished: list[Resolved] = []
        for resolved in batch:
            if resolved.outcome is None or resolved.taken.partition in left:
                left.add(resolved.taken.partition)
                self.give_back(resolved.taken)
            else:
                finished.append(resolved)
        await self._confirm(finished)
        for resolved in finished:
            self._acknowledge(resolved)
        self._state.progress()

    async def _confirm(self, batch: Sequence[Resolved]) -> None:
        todo = [(resolved, message) for resolved in batch for message in resolved.outgoing]
        failures = 0
        while todo:
            results = await self._sender.send([message for _, message in todo])
            again: list[tuple[Resolved, Outgoing]] = []
            for (resolved, message), failed in zip(todo, results, strict=True):
                if failed is None:
                    self._state.metrics.count("telltale_sent_total", self._stage, message.topic)
                else:
                    again += self._unsent(resolved, message, failed[1])
            todo = again
            if todo:
                failures += 1
                await self._sender.pause(failures)

    def _unsent(
        self, resolved: Resolved, message: Outgoing, error: Exception
    ) -> list[tuple[Resolved, Outgoing]]:
        """What to send instead of a message that was refused."""
        if not isinstance(error, TOO_LARGE) or resolved.outcome == "dead":
            return [(resolved, message)]
        size = len(message.value or b"")
        too_large = EventFailed(f"{message.topic} does not take a message of {size} bytes")
        self._bury(resolved, Dead(too_large, 1, time.time()))
        return [(resolved, letter) for letter in resolved.outgoing]

    def _acknowledge(self, resolved: Resolved) -> None:
        taken, outcome = resolved.taken, resolved.outcome
        self._state.pending -= 1
        # what it sent descends from the span, whoever acknowledges the event in the end
        self._tracing.end(resolved.span, resolved.error)
        if not self._hold.acknowledge(taken.message):
            self._state.metrics.count("telltale_dropped_total", self._stage)
            self._note("event is sent but not acknowledged", taken)
            return
        assert outcome is not None
        self._state.metrics.count("telltale_outcomes_total", self._stage, outcome)
        seconds = time.monotonic() - taken.at
        self._state.metrics.observe("telltale_stage_seconds", seconds, self._stage)
        self._flood.finished(outcome == "dead")
        if resolved.error is None:
            self._note("event is answered", taken, seconds=round(seconds, 3))
            return
        name = type(resolved.error).__name__
        self._state.metrics.count("telltale_dead_letters_total", self._stage, name)
        about = fields([taken])
        log.error(
            "event is dead", stage=self._stage, error=name, problem=str(resolved.error), **about
        )

    def give_back(self, taken: Taken) -> None:
        """Leave an event unacknowledged, for whoever holds its partition next."""
        self._state.pending -= 1
        self._state.metrics.count("telltale_dropped_total", self._stage)
        self._hold.give_back(taken.message)
        self._note("event is given back", taken)

    def _note(self, line: str, taken: Taken, **more: object) -> None:
        if _LEVEL.isEnabledFor(logging.DEBUG):
            log.debug(line, stage=self._stage, **more, **fields([taken]))
