"""What a replay would change: its verdicts beside the live ones, image by image.

In: a replay's topics and the live ones. Out: a ``Comparison``: which verdicts flip, how far
probabilities move, which claims are checked otherwise, under which policy and models. Of several
verdicts on an image the latest counts. Only reads. Raises ``UsageError`` for a replay that was
never sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from telltale.delivery.scanning import Read
from telltale.delivery.shadow import asked_again, parsed, reads_of
from telltale.events import Claim, Polarity, Provenance, VerdictIssued, VerdictLabel
from telltale.settings import Settings
from telltale.topics import ISSUED

LARGEST = 10  # shifts named one by one
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Answer:
    """What is compared of a verdict. ``claims``: by (claim id, polarity)."""

    image_id: str
    verdict: VerdictLabel
    probability: float | None
    claims: Mapping[tuple[str, Polarity], Claim]
    made_by: Mapping[str, str]

    @classmethod
    def of(cls, event: VerdictIssued) -> Answer:
        """The parts of a verdict that a person compares."""
        verdict = event.verdict
        claims = {(c.claim_id, c.polarity): c for c in verdict.claims}
        made_by = _made_by(verdict.provenance)
        return cls(event.image_id, verdict.verdict, verdict.probability, claims, made_by)


@dataclass
class Comparison:
    """Old and new answers to the same images, and the images that only one side has answered."""

    replay_id: str
    pairs: Sequence[tuple[Answer, Answer]]
    only_old: Sequence[str] = field(default_factory=tuple)
    only_new: Sequence[str] = field(default_factory=tuple)
    unanswered: Sequence[str] = field(default_factory=tuple)

    @property
    def flips(self) -> list[tuple[Answer, Answer]]:
        """The pairs whose verdict differs, by image id."""
        return [(old, new) for old, new in self.pairs if old.verdict != new.verdict]

    @property
    def matrix(self) -> Counter[tuple[VerdictLabel, VerdictLabel]]:
        """How many images went from which verdict to which."""
        return Counter((old.verdict, new.verdict) for old, new in self.pairs)

    @property
    def shifts(self) -> dict[str, float]:
        """New minus old probability of manipulation by image; rejected uploads have none."""
        return {new.image_id: s for old, new in self.pairs if (s := _shift(old, new)) is not None}

    def public(self) -> dict[str, object]:
        """For JSON."""
        matrix: dict[str, dict[str, int]] = {}
        for (old, new), count in sorted(self.matrix.items()):
            matrix.setdefault(old, {})[new] = count
        return {
            "replay_id": self.replay_id,
            "compared": len(self.pairs),
            "only_old": list(self.only_old),
            "only_new": list(self.only_new),
            "unanswered": list(self.unanswered),
            "flips": len(self.flips),
            "matrix": matrix,
            "flipped": [
                {"image_id": old.image_id, "old": old.verdict, "new": new.verdict}
                for old, new in self.flips
            ],
            "probability": self.probability(),
            "by_version": self.by_version(),
            "by_cue": self.by_cue(),
        }

    def probability(self) -> dict[str, object]:
        """How far probabilities move: mean, quantiles, and the largest shifts."""
        shifts = self.shifts
        if not shifts:
            return {"images": 0, "mean": None, "mean_size": None, "quantiles": {}, "largest": []}
        values = np.array(list(shifts.values()))
        largest = sorted(shifts.items(), key=lambda s: (-abs(s[1]), s[0]))[:LARGEST]
        return {
            "images": len(shifts),
            "mean": round(float(values.mean()), 4),
            "mean_size": round(float(np.abs(values).mean()), 4),
            "quantiles": {f"{q:g}": round(float(np.quantile(values, q)), 4) for q in QUANTILES},
            "largest": [{"image_id": i, "shift": s} for i, s in largest if s],
        }

    def by_version(self) -> list[dict[str, object]]:
        """For the policy and every model: old and new version, with what moved between them."""
        groups: dict[tuple[str, str, str], list[tuple[Answer, Answer]]] = {}
        for old, new in self.pairs:
            for what in sorted({*old.made_by, *new.made_by}):
                versions = old.made_by.get(what, ""), new.made_by.get(what, "")
                groups.setdefault((what, *versions), []).append((old, new))
        return [
            {
                "what": what, "old": before or None, "new": after or None, "images": len(pairs),
                "flips": sum(old.verdict != new.verdict for old, new in pairs),
                "mean_shift": _mean([s for p in pairs if (s := _shift(*p)) is not None]),
            }
            for (what, before, after), pairs in sorted(groups.items())
        ]  # fmt: skip

    def by_cue(self) -> dict[str, dict[str, object]]:
        """For every cue claimed: how often its check came out the same, otherwise, or is new or gone."""
        same: Counter[str] = Counter()
        new_claims: Counter[str] = Counter()
        gone: Counter[str] = Counter()
        changed: dict[str, Counter[str]] = {}
        for old, new in self.pairs:
            for key in sorted({*old.claims, *new.claims}):
                before, after = old.claims.get(key), new.claims.get(key)
                if before is None or after is None:
                    present = before or after
                    assert present is not None
                    (new_claims if before is None else gone)[present.cue_id] += 1
                elif before.status == after.status:
                    same[before.cue_id] += 1
                else:
                    way = f"{before.status} -> {after.status}"
                    changed.setdefault(before.cue_id, Counter())[way] += 1
        return {
            cue: {
                "same": same[cue], "changed": dict(sorted(changed.get(cue, {}).items())),
                "new": new_claims[cue], "gone": gone[cue],
            }
            for cue in sorted({*same, *new_claims, *gone, *changed})
        }  # fmt: skip


def compare(
    replay_id: str,
    old: Mapping[str, Answer],
    new: Mapping[str, Answer],
    replayed: Collection[str] = (),
) -> Comparison:
    """Put two sets of answers side by side; ``replayed``: the images that were asked about again."""
    images = sorted({*new, *replayed})
    return Comparison(
        replay_id,
        [(old[i], new[i]) for i in images if i in old and i in new],
        [i for i in images if i in old and i not in new],
        [i for i in images if i not in old and i in new],
        [i for i in images if i not in old and i not in new],
    )


def compare_replay(settings: Settings, topic: str, replay_id: str, prefix: str) -> Comparison:
    """Compare a replay of ``topic`` under ``prefix`` with the live verdicts.

    A verdict of this very replay that was made live meanwhile is not taken for an old one.
    """
    replayed = asked_again(settings, topic, replay_id, prefix)
    shadow = settings.model_copy(update={"topic_prefix": prefix})
    new = _latest(shadow, lambda event: event.replay_id == replay_id, None)
    images = replayed | set(new)
    old = _latest(settings, lambda event: event.replay_id != replay_id, images)
    return compare(replay_id, old, new, replayed)


def _latest(
    settings: Settings, wanted: Callable[[VerdictIssued], bool], images: Collection[str] | None
) -> dict[str, Answer]:
    """The last wanted verdict on each image; ``images`` None stands for all."""
    last: dict[str, tuple[Read, Answer]] = {}
    for read in reads_of(settings, ISSUED.name):
        if images is not None and (read.key or b"").decode(errors="replace") not in images:
            continue
        event = parsed(read)
        if not isinstance(event, VerdictIssued) or not wanted(event):
            continue
        before = last.get(event.image_id)
        if before is None or read.after(before[0]):
            last[event.image_id] = read, Answer.of(event)
    return {image: answer for image, (_, answer) in last.items()}


def _made_by(provenance: Provenance) -> dict[str, str]:
    """Version by what it is a version of: policy, models, corpus, each stage."""
    named = provenance.model_dump(exclude={"stages", "replay_id"}, exclude_none=True)
    return named | {f"stage {name}": v for name, v in provenance.stages.items()}


def _shift(old: Answer, new: Answer) -> float | None:
    if old.probability is None or new.probability is None:
        return None
    return round(new.probability - old.probability, 4)


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
