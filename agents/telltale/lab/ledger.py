"""What was sent, against what came out: the account that a run under faults is held to.

In: uploads as they are confirmed, answers as a stock client reads them. Out: ``Audit``. Memory is a
few numbers an upload, fixed at the start; every answer is looked at once. Ids of uploads and answers
are derived, so that none needs to be kept. Nothing here raises.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from telltale.events import derived_id

Floats = NDArray[np.float64]


class Hop(NamedTuple):
    """One stage between an upload and its answer, as it goes into a derived id."""

    stage: str
    version: str
    type_name: str


@dataclass(frozen=True)
class Audit:
    """The account. An honest stream under faults has noughts in all but three of these.

    ``duplicate_emissions`` may be more than nought: delivery is at least once, and a repeat carries
    the id of its original. ``duplicate_effects`` counts what a consumer that acts once an id would
    still do twice, and rows too many where verdicts were recorded. ``altered_repeats`` and
    ``altered_dead`` count what came in other bytes than it should.
    """

    sent: int
    answered: int
    lost: int
    duplicate_effects: int
    duplicate_emissions: int
    foreign_ids: int
    altered_repeats: int
    dead: int
    altered_dead: int

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, done twice, made up or altered."""
        return not (
            self.lost
            or self.duplicate_effects
            or self.foreign_ids
            or self.altered_repeats
            or self.altered_dead
        )

    def public(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


class Ledger:
    """Uploads ``<run>-0`` to ``<run>-<events - 1>`` and what is heard of each.

    ``sent_s`` is when it was sent, ``heard_s`` when its first answer was read, ``stored_s`` that
    answer's Kafka timestamp: seconds since 1970, NaN for not yet. ``partition`` is -1 until the
    broker has confirmed the upload.
    """

    def __init__(self, run: str, events: int, route: tuple[Hop, ...]) -> None:
        self._run, self._route = run, route
        self.sent_s: Floats = np.full(events, np.nan)
        self.heard_s: Floats = np.full(events, np.nan)
        self.stored_s: Floats = np.full(events, np.nan)
        self.partition: NDArray[np.int32] = np.full(events, -1, np.int32)
        self._times: NDArray[np.int32] = np.zeros(events, np.int32)
        self._digest: NDArray[np.int64] = np.zeros(events, np.int64)
        # ids that should not be, by the upload they name; -1 for none of ours
        self._foreign: dict[int, set[str]] = defaultdict(set)
        self._foreign_messages = self._altered = 0
        self.confirmed = self.answered = 0

    @property
    def events(self) -> int:
        """Uploads there is room for."""
        return len(self.sent_s)

    def image_id(self, number: int) -> str:
        """The image id of an upload."""
        return f"{self._run}-{number}"

    def upload_id(self, number: int) -> UUID:
        """The event id of an upload."""
        return uuid5(NAMESPACE_URL, self.image_id(number))

    def answer_id(self, number: int) -> UUID:
        """The one id that its answer may carry."""
        found = self.upload_id(number)
        for hop in self._route:
            found = derived_id(found, hop.stage, hop.version, None, hop.type_name)
        return found

    def confirm(self, number: int, partition: int) -> None:
        """The broker has that upload, in that partition."""
        self.partition[number] = partition
        self.confirmed += 1

    def hear(self, subject: str, event_id: str, value: bytes, at_s: float, stored_s: float) -> None:
        """An answer was read."""
        number = self._number(subject)
        if number < 0 or event_id != str(self.answer_id(number)):
            self._foreign[number].add(event_id)
            self._foreign_messages += 1
            return
        self._times[number] += 1
        digest = hash(value)  # 64 bits are enough to see that a repeat is not its original
        if self._times[number] == 1:
            self.heard_s[number], self.stored_s[number] = at_s, stored_s
            self._digest[number] = digest
            self.answered += 1
        elif self._digest[number] != digest:
            self._altered += 1

    def audit(self, dead: int = 0, rows_too_many: int = 0, altered_dead: int = 0) -> Audit:
        """The account as it stands, with dead letters and rows counted elsewhere."""
        sent = self.partition >= 0
        answered = self._times > 0
        # one effect an id: each id beyond an upload's first is an effect that should not be
        beyond = sum(
            len(ids) - (0 if number >= 0 and answered[number] else 1)
            for number, ids in self._foreign.items()
            if number >= 0
        )
        return Audit(
            sent=int(sent.sum()),
            answered=int((sent & answered).sum()),
            lost=int((sent & ~answered).sum()),
            duplicate_effects=beyond + rows_too_many,
            duplicate_emissions=int(np.maximum(self._times - 1, 0).sum()),
            foreign_ids=self._foreign_messages,
            altered_repeats=self._altered,
            dead=dead,
            altered_dead=altered_dead,
        )

    def recovery_s(self, at_s: float, first: int, end: int) -> float | None:
        """Seconds from a moment until every partition answers something sent after it.

        ``first`` to ``end`` are the uploads to look at; those before the moment are passed over. None
        if none came after it, infinity if a partition never answered.
        """
        numbers = np.arange(first, end)
        numbers = numbers[(self.sent_s[first:end] >= at_s) & (self.partition[first:end] >= 0)]
        if not len(numbers):
            return None
        _, firsts = np.unique(self.partition[numbers], return_index=True)
        waited = self.heard_s[numbers[firsts]] - at_s
        return float("inf") if np.isnan(waited).any() else float(waited.max())

    def _number(self, subject: str) -> int:
        run, _, number = subject.rpartition("-")
        known = run == self._run and number.isdecimal() and int(number) < self.events
        return int(number) if known else -1
