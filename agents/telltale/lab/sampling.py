"""Which pictures of a data set are judged: those of a split, or so many drawn evenly.

In: samples. Out: samples, in the order of the source. A draw takes pairs whole and spreads over
edits, strengths and people, untouched and edited pictures alike; the same seed draws the same.
Raises ``UsageError`` where a split is empty.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest

import numpy as np

from telltale.errors import UsageError
from telltale.lab.datasets import Sample

Unit = list[Sample]
"""An edited picture and its untouched twin, or a picture that has none."""


def of_split(samples: Sequence[Sample], split: str) -> list[Sample]:
    """The samples of a split, and those of none; 'all' takes every one."""
    found = [s for s in samples if split == "all" or s.split in (split, None)]
    if not found:
        known = ", ".join(sorted({str(s.split) for s in samples}))
        raise UsageError(
            f"no sample is of --split {split}; there are: {known}. A bench splits by person (about one "
            "in ten is for test): build it of more people, or, where the models were trained on none of "
            "them, take --split all"
        )
    return found


def drawn(samples: Sequence[Sample], limit: int, seed: int = 0) -> list[Sample]:
    """At most ``limit`` samples; see the module."""
    units: dict[str, Unit] = defaultdict(list)
    for sample in samples:
        units[sample.pair or sample.name].append(sample)
    keys = (_label, _kind, _person, _strength)
    taken: set[str] = set()
    for unit in _spread(list(units.values()), keys, np.random.default_rng(seed), Counter()):
        if len(taken) + len(unit) <= limit:
            taken |= {s.name for s in unit}
    return [s for s in samples if s.name in taken]


def _spread(
    units: list[Unit],
    keys: Sequence[Callable[[Unit], str]],
    rng: np.random.Generator,
    led: Counter[str],
) -> list[Unit]:
    """In an order in which every beginning is spread over the keys, the first key foremost.

    ``led`` counts what came first so far, so that another person leads the next edit's turn.
    """
    if not keys:
        return [units[int(n)] for n in rng.permutation(len(units))]
    groups: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        groups[keys[0](unit)].append(unit)
    names = sorted(groups)
    order = sorted((names[int(n)] for n in rng.permutation(len(names))), key=lambda n: led[n])
    led[order[0]] += 1
    turns = [_spread(groups[name], keys[1:], rng, led) for name in order]
    return [u for u in chain.from_iterable(zip_longest(*turns)) if u is not None]


def _label(unit: Unit) -> str:
    return "".join(sorted({str(s.label) for s in unit}))


def _kind(unit: Unit) -> str:
    return "".join(sorted({s.kind or "" for s in unit}))


def _strength(unit: Unit) -> str:
    return str(max((s.strength or 0.0) for s in unit))


def _person(unit: Unit) -> str:
    return unit[0].person or unit[0].name
