"""The only place a topic is named. In: nothing. Out: topics with what their partitions need."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Topic:
    """A Kafka topic: its name, how long it keeps events (ms), and its clean-up policy."""

    name: str
    retention_ms: int
    cleanup: str = "delete"

    @property
    def dead(self) -> Topic:
        """Where events of this topic go that a stage could not finish, byte for byte."""
        # four weeks: long enough for a person to look after a holiday
        return Topic(f"{self.name}.dead", 28 * DAY_MS)


# a week to notice a fault and replay
UPLOADED = Topic("images.uploaded", 7 * DAY_MS)
ADMITTED = Topic("images.admitted", 7 * DAY_MS)
DETECTED = Topic("regions.detected", 7 * DAY_MS)
RETRIEVED = Topic("cues.retrieved", 7 * DAY_MS)
JUDGED = Topic("judgments.made", 7 * DAY_MS)
# what others consume is kept longer than what only our stages read
ISSUED = Topic("verdicts.issued", 28 * DAY_MS)
EXPLAINED = Topic("explanations.ready", 28 * DAY_MS)

TOPICS: tuple[Topic, ...] = (UPLOADED, ADMITTED, DETECTED, RETRIEVED, JUDGED, ISSUED, EXPLAINED)
DEAD_TOPICS: tuple[Topic, ...] = tuple(t.dead for t in TOPICS)


def shadow_prefix(prefix: str, replay_id: str) -> str:
    """The prefix of a replay's own topics and groups, below the live one."""
    return f"{prefix}{replay_id}."


def in_shadow(prefix: str, replay_id: str | None) -> bool:
    """Whether topics under this prefix are that replay's own."""
    return replay_id is not None and prefix.endswith(shadow_prefix("", replay_id))
