"""The errors of the product, as a typed tree: what each means decides what happens to an event.

``EventUnreadable`` and ``EventFailed`` are faults of one event: the first is dead at once, the
second after the attempts that the settings allow. ``DependencyAway`` is nobody's fault: the
partition waits. ``Rejected`` is an answer. ``UsageError`` and ``WeightsMissing`` are told to the
person at the terminal in one sentence.
"""

from __future__ import annotations


class TelltaleError(Exception):
    """Root of the tree; its text is one sentence that names what is wrong and what to do."""

    exit_code = 1


class UsageError(TelltaleError):
    """A setting, argument or file that the caller can put right."""

    exit_code = 2


class WeightsMissing(UsageError):
    """Model weights that are neither in the folder looked in nor to be had from the hub."""

    def __init__(self, what: str, looked_in: str, instead: str) -> None:
        super().__init__(f"weights of {what} are not in {looked_in}; {instead}")
        self.what, self.looked_in, self.instead = what, looked_in, instead


class EventUnreadable(TelltaleError):
    """The bytes of a message are not an event of its topic; ``field`` names what is at fault."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field, self.problem = field, problem


class EventFailed(TelltaleError):
    """A stage could not finish this one event; tried again, then dead."""


class DependencyAway(TelltaleError):
    """A server that a stage needs does not answer; ``retry_after_s`` is its own wish, if any."""

    exit_code = 4

    def __init__(self, dependency: str, problem: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{dependency} is away: {problem}")
        self.dependency, self.problem, self.retry_after_s = dependency, problem, retry_after_s


class Rejected(TelltaleError):
    """An upload that intake refuses; ``code`` is published (see ``events.RejectionCode``)."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code
