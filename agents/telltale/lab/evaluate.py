"""How good a profile is on a bench or a data set: the tables of evidence.md, with intervals.

In: samples with labels (and, where planted, the cue and person), the stages. Out: a dictionary of
figures, each ``value``, ``low``, ``high``. A score on planted edits is a score on planted edits.

COVER is the share of planted artifacts that a verdict names; CHAIR the share of artifacts named that were
not planted; Hal the share of pictures with any such (Rohrbach et al. 2018 and Wang et al., "AMBER"
2023, applied to cues); F0.5 weighs the names' precision over their recall. They count untouched pictures
and edits whose cue is given. A set of fakes whose cues nobody tells (FaceForensics++, Celeb-DF, DF40,
GenImage, a CSV without ``cue_id``) has no COVER, CHAIR and F0.5, and its Hal is that of its untouched
pictures.

A verdict names what its policy says: an artifact that the judge claims to see and whose calibrated
probability is high enough. Without a calibration of the encoder in use every probability is one half,
and none of this says anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from telltale.events import Verdict
from telltale.lab import tables
from telltale.lab.ablation import ABLATIONS
from telltale.lab.bench import recompressed
from telltale.lab.datasets import Sample
from telltale.lab.outcomes import Outcomes, answer, outcomes
from telltale.lab.pipeline import Judged, Pipeline
from telltale.lab.sampling import drawn
from telltale.lab.statistics import auroc, bootstrap

NAMED_FROM = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Values of the policy's ``named_from`` for which naming is told, to choose one by (on people of your own)."""
RECOMPRESSED = 120
"""Untouched pictures sent through JPEG once more; each costs as much as a picture of the bench."""


def evaluate(
    pipeline: Pipeline,
    samples: Sequence[Sample],
    groups: Mapping[str, Sequence[str]] | None = None,
    without: Sequence[str] = (),
    recompress: int = RECOMPRESSED,
    seed: int = 0,
    keep: Callable[[Sample, Judged], object] = lambda *_: None,
) -> dict[str, Any]:
    """All tables for these samples.

    ``groups`` names the groups of each person, ``without`` the ``ABLATIONS`` to set beside the
    whole, ``recompress`` how many untouched pictures serve the check that must end at .5 (0: none);
    ``keep`` is told every answer of the whole.
    """
    digest = hashlib.sha256()
    verdicts: list[Verdict] = []
    ablated: dict[str, list[Verdict]] = {name: [] for name in without}
    for batch, judged in _judged(pipeline, samples, "pictures"):
        for sample, data in batch:
            digest.update(_identity(sample, data))
        verdicts += [j.verdict.verdict for j in judged]
        for (sample, _), one in zip(batch, judged, strict=True):
            keep(sample, one)
        for name in without:
            ablated[name] += ABLATIONS[name](pipeline, judged)
    whole = outcomes(samples, verdicts)
    table = tables.figures(whole, seed) | tables.breakdowns(whole, groups or {}, seed)
    table["by_named_from"] = {
        f"{p:g}": tables.naming(outcomes(samples, verdicts, p), seed) for p in NAMED_FROM
    }
    table["check_random_labels"] = tables.random_labels(whole, seed)
    if recompress:
        untouched = drawn([s for s in samples if not s.label], recompress, seed)
        table["check_recompressed"] = _check_recompressed(pipeline, untouched, whole, samples, seed)
    if without:
        table["without"] = {
            name: tables.compared(whole, outcomes(samples, found), seed)
            for name, found in ablated.items()
        }
    return table | {"bench": digest.hexdigest()[:16]}


def _judged(
    pipeline: Pipeline,
    samples: Sequence[Sample],
    what: str,
    read: Callable[[Sample], bytes] = Sample.read,
) -> Iterator[tuple[list[tuple[Sample, bytes]], list[Judged]]]:
    """Batch by batch, with a bar: samples with their bytes, and what the stages answered."""
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=len(samples))
        for start in range(0, len(samples), pipeline.batch):
            batch = [(s, read(s)) for s in samples[start : start + pipeline.batch]]
            yield batch, pipeline.judged([data for _, data in batch])
            shown.advance(task, len(batch))


def _identity(sample: Sample, data: bytes) -> bytes:
    """What makes a sample what it is, wherever it lies: its name, its labels and its bytes."""
    known = (sample.name, sample.label, sample.kind, sample.strength, sample.cue_id, sample.person)
    return repr(known).encode() + hashlib.sha256(data).digest()


def _check_recompressed(
    pipeline: Pipeline,
    untouched: Sequence[Sample],
    whole: Outcomes,
    samples: Sequence[Sample],
    seed: int,
) -> dict[str, Any]:
    """AUROC of untouched pictures after one more JPEG against themselves; must stay at .5."""
    known = {s.name: p for s, p in zip(samples, whole.probability, strict=True)}

    def again(sample: Sample) -> bytes:
        data = sample.read()
        return recompressed(data, int.from_bytes(hashlib.sha256(data).digest()[:4], "big"))

    scores = [
        answer(j.verdict.verdict).probability
        for _, judged in _judged(pipeline, untouched, "recompressed", again)
        for j in judged
    ]
    before = np.array([known[s.name] for s in untouched], np.float64)
    after = np.array(scores, np.float64)

    def statistic(rows: tables.Rows) -> float:
        labels = np.repeat([0.0, 1.0], len(rows))
        return auroc(labels, np.concatenate([before[rows], after[rows]]))

    people = [s.person or s.name for s in untouched]
    found = bootstrap(statistic, people, seed, tables.RESAMPLES_NESTED)
    return found.as_json() | {"pictures": len(untouched)}
