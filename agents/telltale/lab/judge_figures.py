"""How good the mini judge is, alone: verdicts and claims on twins of people never trained on.

In: a judge, shards of twins (``judge_pictures``). Out: figures with bootstrap intervals over people.
The judge is asked as in the product, given the crops of the regions asked about. A score on planted
edits is a score on planted edits. Raises ``LookupError`` for a folder without twins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.cues import load_cues
from telltale.events import Judgment
from telltale.lab.crops import LEFT_OUT
from telltale.lab.judge_data import Corpus, Pair, Scene
from telltale.lab.judge_pictures import Twin, make, read
from telltale.lab.pairs import Split, split_of
from telltale.lab.people import groups_of
from telltale.lab.statistics import Figure, auroc, bootstrap, f_beta, ratio
from telltale.models import Question
from telltale.models.lmm import MiniJudge

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9)
ASKED = 12
"""Pairs a question, as the shipped policy retrieves."""
SHARDS = 10


@dataclass(frozen=True)
class Row:
    """One picture: what is true of it and what the judge said."""

    person: str
    kind: str
    edited: bool
    said: str
    score: float
    """Confidence signed by the verdict: the higher, the more surely manipulated."""
    asked: bool
    """Whether the planted cue was asked about where the edit lies."""
    claims: tuple[tuple[float, bool], ...] = ()
    """Of each artifact named that can be judged: how sure the decoder was, and whether it is there."""

    @property
    def covered(self) -> bool:
        return any(there for _, there in self.claims)

    @property
    def invented(self) -> int:
        return sum(not there for _, there in self.claims)


def evaluate(
    judge: MiniJudge, faces: Path, out: Path, seed: int = 1, limit: int | None = None
) -> dict[str, Any]:
    """Figures on people never trained on; their twins are made in ``out`` where not yet there.

    Those of the split ``test`` by themselves too: on the others thresholds were chosen.
    """
    make(faces, out / "held", seed, SHARDS, measuring=True)
    rows, tokens_s = collect(judge, twins(out / "held"), seed, limit)
    trained = [r for r in rows if r.kind not in LEFT_OUT]
    left_out = [r for r in rows if r.kind in LEFT_OUT]
    return {
        "judge": judge.revision,
        "pictures": len(rows),
        "people": len({r.person for r in rows}),
        "kinds_trained_on": figures(trained, seed),
        "kinds_left_out": figures(left_out, seed),
        "kinds_trained_on_split_test": of_split(trained, "test", seed),
        "claims_by_confidence": by_confidence(trained, seed),
        "auroc_by_kind": {
            kind: _over(mine, lambda rs: auroc(_column(rs, "edited"), _column(rs, "score")), seed)
            for kind in sorted({r.kind for r in rows})
            if (mine := [r for r in rows if r.kind == kind])
        },
        "by_group": by_group(trained, groups_of(faces), seed),
        "tokens_a_second": round(tokens_s, 1),
    }


def twins(folder: Path) -> Iterator[Twin]:
    """The twins of all shards of a folder. Raises ``LookupError`` if there are none."""
    shards = sorted(folder.glob("*.npz"))
    if not shards:
        raise LookupError(f"{folder} holds no twins")
    for shard in shards:
        yield from read(shard)


def collect(
    judge: MiniJudge, found: Iterator[Twin], seed: int, limit: int | None
) -> tuple[list[Row], float]:
    """Both twins of each pair asked the same; and tokens written a second of processor time."""
    corpus, rng = Corpus(load_cues()), np.random.default_rng(seed)
    rows: list[Row] = []
    tokens, seconds = 0, 0.0
    for twin in found:
        pairs = corpus.ask(scene_of(twin), ASKED, rng)
        for edited in (False, True):
            asked = question(twin, edited, pairs, corpus)
            began = time.process_time()
            written = judge.write([asked])[0]
            seconds += time.process_time() - began
            tokens += written.tokens
            rows.append(row(twin, edited, pairs, corpus, judge.read(written, asked)))
        if limit is not None and len(rows) >= limit:
            break
    return rows, ratio(tokens, seconds)


def scene_of(twin: Twin) -> Scene:
    """The twin without features: enough to ask and to know what is true."""
    nothing = np.zeros((2, len(twin.types), 0, 0), np.float16)
    return Scene(
        nothing, twin.region_ids, twin.types, twin.share, twin.own, twin.kind, twin.strength,
        twin.person,
    )  # fmt: skip


def question(twin: Twin, edited: bool, pairs: Sequence[Pair], corpus: Corpus) -> Question:
    """What the judge stage would ask about one of the twins."""
    whole = twin.region_ids.index("image")
    return Question(
        image_id=f"{twin.person} {twin.kind} {edited}",
        pixels=twin.crops[whole, int(edited)],
        regions=(),
        crops={twin.region_ids[r]: twin.crops[r, int(edited)] for _, r in pairs},
        asked=tuple((corpus.cues[c], twin.region_ids[r]) for c, r in pairs),
    )


def row(twin: Twin, edited: bool, pairs: Sequence[Pair], corpus: Corpus, answer: Judgment) -> Row:
    """What was said against what is true; artifacts nobody can judge are not held against it."""
    scene = scene_of(twin)
    truths = {
        (corpus.cues[p[0]].cue_id, twin.region_ids[p[1]]): corpus.truth(scene, edited, p)
        for p in pairs
    }
    sure = {
        (c.cue_id, c.region_id): c.confidence for c in answer.claims if c.polarity == "artifact"
    }
    sign = {"manipulated": 1.0, "authentic": -1.0}.get(answer.verdict, 0.0)
    return Row(
        twin.person, twin.kind, edited, answer.verdict, sign * answer.confidence,
        asked=True in truths.values(),
        claims=tuple((by, there) for pair, by in sure.items() if (there := truths[pair]) is not None),
    )  # fmt: skip


def figures(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Verdicts and claims; 'inconclusive' counts as wrong. COVER: planted artifacts asked about
    that a claim names. CHAIR: artifact claims that name what is not there. Hal: pictures with any."""
    edited = [r for r in rows if r.edited]
    return {
        "macro_f1": _over(rows, macro_f1, seed),
        "accuracy": _over(rows, lambda rs: float(np.mean([_right(r) for r in rs])), seed),
        "auroc": _over(rows, lambda rs: auroc(_column(rs, "edited"), _column(rs, "score")), seed),
        "cover": _over([r for r in edited if r.asked], lambda rs: float(_column(rs, "covered").mean()), seed),
        "chair": _over(rows, lambda rs: ratio(_column(rs, "invented").sum(), sum(len(r.claims) for r in rs)), seed),
        "hal": _over(rows, lambda rs: float((_column(rs, "invented") > 0).mean()), seed),
    }  # fmt: skip


def of_split(rows: Sequence[Row], split: Split, seed: int) -> dict[str, Any]:
    """``figures`` of the people of one split, and how many ``people``; no figures where there is nobody."""
    own = [r for r in rows if split_of(r.person) == split]
    return {"people": len({r.person for r in own})} | (figures(own, seed) if own else {})


def by_confidence(rows: Sequence[Row], seed: int) -> dict[str, dict[str, Any]]:
    """COVER and CHAIR, as of ``figures``, if only artifacts were named of which the decoder is so sure."""
    asked = [r for r in rows if r.edited and r.asked]
    out: dict[str, dict[str, Any]] = {}
    for least in CONFIDENCES:

        def covered(rs: Sequence[Row], least: float = least) -> float:
            return float(np.mean([any(t and c >= least for c, t in r.claims) for r in rs]))

        def invented(rs: Sequence[Row], least: float = least) -> float:
            named = [there for r in rs for sure, there in r.claims if sure >= least]
            return ratio(len(named) - sum(named), len(named))

        out[f"{least}"] = {
            "cover": _over(asked, covered, seed),
            "chair": _over(rows, invented, seed),
        }
    return out


def by_group(
    rows: Sequence[Row], groups: Mapping[str, tuple[str, ...]], seed: int
) -> dict[str, dict[str, Any]]:
    """False alarms, misses and inconclusive verdicts for the people of each self-reported group.

    Shares of untouched pictures called manipulated, of edited ones not called so, and of all; how many
    ``people``. Intervals are null for a group of one.
    """
    out: dict[str, dict[str, Any]] = {}
    for group in sorted({g for r in rows for g in groups.get(r.person, ())}):
        own = [r for r in rows if group in groups.get(r.person, ())]
        out[group] = {
            name: _over(of, lambda rs, t=told: float(np.mean([t(r) for r in rs])), seed)  # type: ignore[misc]
            for name, of, told in (
                ("false_alarms", [r for r in own if not r.edited], lambda r: r.said == "manipulated"),
                ("misses", [r for r in own if r.edited], lambda r: r.said != "manipulated"),
                ("inconclusive", own, lambda r: r.said == "inconclusive"),
            )
        } | {"people": len({r.person for r in own})}  # fmt: skip
    return out


def macro_f1(rows: Sequence[Row]) -> float:
    """Mean of the F1 of 'manipulated' and of 'authentic'; a class never said counts 0."""
    scores = []
    for label, truth in (("manipulated", True), ("authentic", False)):
        hits = sum(r.said == label and r.edited == truth for r in rows)
        said, there = sum(r.said == label for r in rows), sum(r.edited == truth for r in rows)
        f1 = f_beta(ratio(hits, said), ratio(hits, there)) if hits else 0.0
        scores.append(f1)
    return float(np.mean(scores))


def _right(row: Row) -> bool:
    return row.said == ("manipulated" if row.edited else "authentic")


def _column(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    return np.array([float(getattr(r, name)) for r in rows])


def _over(
    rows: Sequence[Row], statistic: Callable[[Sequence[Row]], float], seed: int
) -> dict[str, Any]:
    figure: Figure = bootstrap(lambda at: statistic([rows[n] for n in at]), [r.person for r in rows], seed)  # fmt: skip
    return figure.as_json()
