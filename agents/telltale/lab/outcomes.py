"""What was known and what was answered, picture by picture, as columns to compute figures from.

In: samples and their verdicts, in the same order. Out: ``Outcomes``. Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telltale.events import Verdict
from telltale.lab.datasets import Sample
from telltale.lab.statistics import Array

Names = NDArray[np.str_]


@dataclass(frozen=True)
class Answer:
    """What one verdict says. ``named`` are cues whose artifacts the verdict names."""

    probability: float
    said: str
    named: tuple[str, ...]


@dataclass(frozen=True)
class Outcomes:
    """One row a picture. Unknown strength is NaN, unknown kind and pair are ''.

    ``told`` is 1 where it is known which artifacts are there: none in an untouched picture, the
    planted one in an edit whose cue is given. Of a fake whose cue nobody tells, what is named can be
    neither right nor invented: its ``false_claims`` and ``claims`` are 0.
    """

    manipulated: Array
    kind: Names
    strength: Array
    pair: Names
    person: list[str]
    planted: Array
    told: Array
    probability: Array
    said: Names
    covered: Array
    false_claims: Array
    claims: Array

    @property
    def right(self) -> Array:
        """1 where the verdict is the truth; 'inconclusive' and 'rejected' are not."""
        truth = np.where(self.manipulated > 0, "manipulated", "authentic")
        right: Array = (self.said == truth).astype(np.float64)
        return right


def answer(verdict: Verdict, named_from: float | None = None) -> Answer:
    """A rejected picture has no probability: it counts as one half.

    ``named_from`` asks what another policy would have named; unset, what the verdict names.
    """
    named = (
        c.named if named_from is None else c.would_be_named(named_from) for c in verdict.claims
    )  # fmt: skip
    return Answer(
        0.5 if verdict.probability is None else verdict.probability,
        verdict.verdict,
        tuple(dict.fromkeys(c.cue_id for c, n in zip(verdict.claims, named, strict=True) if n)),
    )


def outcomes(
    samples: Sequence[Sample], verdicts: Sequence[Verdict], named_from: float | None = None
) -> Outcomes:
    """Samples and verdicts side by side; ``named_from`` as in ``answer``."""
    answers = [answer(v, named_from) for v in verdicts]
    both = list(zip(samples, answers, strict=True))
    told = [s.label == 0 or s.cue_id is not None for s in samples]
    named = [a.named if t else () for a, t in zip(answers, told, strict=True)]
    return Outcomes(
        manipulated=np.array([s.label for s in samples], np.float64),
        kind=np.array([s.kind or "" for s in samples], np.str_),
        strength=np.array([np.nan if s.strength is None else s.strength for s in samples]),
        pair=np.array([s.pair or "" for s in samples], np.str_),
        person=[s.person or s.name for s in samples],
        planted=np.array([s.cue_id is not None for s in samples], np.float64),
        told=np.array(told, np.float64),
        probability=np.array([a.probability for a in answers], np.float64),
        said=np.array([a.said for a in answers], np.str_),
        covered=np.array([s.cue_id in a.named for s, a in both], np.float64),
        false_claims=np.array(
            [sum(c != s.cue_id for c in n) for s, n in zip(samples, named, strict=True)], np.float64
        ),
        claims=np.array([len(n) for n in named], np.float64),
    )
