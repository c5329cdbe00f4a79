"""Questions with known answers for training the mini judge: what is asked, what is true of it.

In: tower features of crops of twins, the cue corpus. Out: token sequences with labels. Real and
edited twins are asked the very same questions, so that a question tells nothing about its picture;
misleading cues and cues that no edit plants are among them. Nothing fails but unknown cue ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.cues import Cue
from telltale.lab.crops import KINDS, TRAINED
from telltale.lab.edits import EDITS
from telltale.lab.judge_pictures import TOUCHED
from telltale.models.lmm_mini import FORMAT, line
from telltale.models.lmm_prompt import POLARITIES
from telltale.regions import WHERE

IGNORED = -100
PLANTABLE_WEIGHT = 20.0
"""How much oftener a cue that some edit plants is asked than another: retrieval puts first what can be
checked, and that are these."""
ASKED_PLANTED = 0.85
"""Share of questions that ask about the cue planted in one of the twins."""
MISSED, INVENTED = 0.3, 0.015
"""How often earlier claims in a training answer miss an artifact or invent one, about as a trained judge
does: the verdict then has to be seen in the picture too, rather than be read off the claims alone."""
KOREAN = 0.15
VERDICT_WEIGHT = 2.0


@dataclass(frozen=True)
class Scene:
    """The regions of one pair of twins, their features and what is planted where.

    ``features`` is 2 x regions x tokens x width (untouched, edited), ``share`` the part of each
    region that the edit covers, ``own`` where the planted cue can be seen.
    """

    features: NDArray[np.float16]
    region_ids: tuple[str, ...]
    types: tuple[str, ...]
    share: NDArray[np.float32]
    own: NDArray[np.bool_]
    kind: str
    strength: float = 1.0
    person: str = ""


Pair = tuple[int, int]
"""Number of a cue in the corpus, number of a region in the scene."""


class Corpus:
    """The cues by number, and which of them edits plant."""

    def __init__(self, cues: Sequence[Cue]) -> None:
        self.cues = tuple(cues)
        self.number = {cue.cue_id: n for n, cue in enumerate(self.cues)}
        self.planted = {kind: self.number[EDITS[kind].cue_id] for kind in KINDS}
        trained = {self.planted[k] for k in TRAINED}
        self.trained = trained
        self.weight = np.array(
            [PLANTABLE_WEIGHT if n in trained else 1.0 for n in range(len(self.cues))]
        )

    def places(self, cue: int, types: Sequence[str]) -> list[int]:
        """The regions in which the product looks for a cue: those of its first type present."""
        for wanted in WHERE[self.cues[cue].region]:
            if here := [n for n, t in enumerate(types) if t == wanted]:
                return here
        return []

    def ask(self, scene: Scene, count: int, rng: np.random.Generator) -> list[Pair]:
        """``count`` different pairs, grouped by region, as retrieval might propose them."""
        pairs: list[Pair] = []
        own = np.flatnonzero(scene.own)
        if len(own) and rng.random() < ASKED_PLANTED:
            pairs.append((self.planted[scene.kind], int(rng.choice(own))))
        order = rng.permutation(len(self.cues))
        order = order[np.argsort(rng.exponential(size=len(order)) / self.weight[order])]
        for cue in order:
            if len(pairs) >= count:
                break
            places = self.places(int(cue), scene.types)
            if places and (pair := (int(cue), int(rng.choice(places)))) not in pairs:
                pairs.append(pair)
        regions = rng.permutation(len(scene.types)).tolist()
        shuffled = [pairs[n] for n in rng.permutation(len(pairs))]
        return sorted(shuffled, key=lambda pair: regions.index(pair[1]))

    def truth(self, scene: Scene, edited: bool, pair: Pair) -> bool | None:
        """Whether the artifact is there; None where nobody can know (a cue akin to the edit)."""
        cue, region = pair
        if not edited:
            return False
        planted, share = self.planted[scene.kind], float(scene.share[region])
        if cue == planted:
            return True if scene.own[region] else (False if share == 0 else None)
        if share < TOUCHED:
            return False
        kin = self.cues[cue].region == EDITS[scene.kind].cue_region
        same = self.cues[cue].family == self.cues[planted].family
        return False if cue in self.trained and not kin and not same else None


@dataclass(frozen=True)
class Example:
    """Token ids, labels (IGNORED where nothing is learned), label weights, and images to fill in.

    ``regions`` numbers the scene's regions whose features go, in order, where image tokens stand.
    ``lines`` are where the cues' lines end, ``choices`` where an answer then chooses, one for one.
    """

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    regions: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)


class Writer:
    """Writes questions and answers as the mini judge reads and writes them, token by token.

    Forced text and choices are tokenised apart, as the jumping decoder does.
    """

    def __init__(self, corpus: Corpus, tokenizer: Any, image_tokens: int, emphasis: float) -> None:
        self.corpus, self._tokenizer, self._emphasis = corpus, tokenizer, emphasis
        self._image = [tokenizer.convert_tokens_to_ids("<image>")] * image_tokens
        self._known: dict[str, list[int]] = {}
        self._polarity = [self.tokens(p)[0] for p in POLARITIES]

    def tokens(self, text: str) -> list[int]:
        """Token ids without marks of beginning and end; kept for the next time."""
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False)
        return self._known[text]

    def example(
        self,
        scene: Scene,
        edited: bool,
        pairs: Sequence[Pair],
        rng: np.random.Generator,
        answered: bool = True,
    ) -> Example:
        """One picture, its question and, if ``answered``, the true answer.

        The ends of a cue's line and of the prompt are labelled with what will have to be said:
        the forced text that follows needs no learning, and a short sequence teaches as much.
        """
        language = "ko" if rng.random() < KOREAN else "en"
        out = Example()
        truths = [self.corpus.truth(scene, edited, pair) for pair in pairs]
        self._put(out, [self._tokenizer.bos_token_id, *self.tokens("<user>")])
        for (cue, region), truth in zip(pairs, truths, strict=True):
            if region not in out.regions:
                out.regions.append(region)
                self._put(out, self.tokens(scene.region_ids[region]))
                self._put(out, [*self._image, *self.tokens("\n")])
            self._put(out, self.tokens(line(self.corpus.cues[cue].cue_id)))
            out.lines.append(len(out.ids) - 1)
            self._label(out, truth, 0.5)
        self._put(out, self.tokens("<assistant>"))
        first, *rest = self.tokens("manipulated" if edited else "authentic")
        if not answered:
            out.labels[-1], out.weights[-1] = first, VERDICT_WEIGHT
            return out
        before = '{"claims": ['
        for (cue, region), truth in zip(pairs, truths, strict=True):
            head = claim_head(self.corpus.cues[cue].cue_id, scene.region_ids[region])
            self._put(out, self.tokens(before + head), learn=0.1)
            out.choices.append(len(out.ids) - 1)
            self._label(out, truth, 1.0)
            said = bool(truth)
            if rng.random() < (MISSED if said else INVENTED):
                said = not said
            polarity = POLARITIES[0] if said else POLARITIES[1]
            self._put(out, self.tokens(polarity))
            sentence = getattr(getattr(self.corpus.cues[cue], polarity), language)
            before = claim_tail(sentence) + ", "
        self._put(out, self.tokens(before.removesuffix(", ") + '], "verdict": "'), learn=0.1)
        out.labels[-1], out.weights[-1] = first, VERDICT_WEIGHT
        self._put(out, [first, *rest, *self.tokens('"}'), self._tokenizer.eos_token_id])
        return out

    def _put(self, out: Example, ids: Sequence[int], learn: float = 0.0) -> None:
        """Append tokens; with ``learn``, each is the label of the one before it."""
        for token in ids:
            if learn and out.ids:
                out.labels[-1], out.weights[-1] = token, learn
            out.ids.append(token)
            out.labels.append(IGNORED)
            out.weights.append(0.0)

    def _label(self, out: Example, truth: bool | None, weight: float) -> None:
        """What the last token should be followed by, in place of what is."""
        if truth is None:
            out.labels[-1], out.weights[-1] = IGNORED, 0.0
            return
        out.labels[-1] = self._polarity[0 if truth else 1]
        out.weights[-1] = weight * (self._emphasis if truth else 1.0)


def claim_head(cue_id: str, region_id: str) -> str:
    """A claim up to its polarity."""
    head = json.dumps({"cue_id": cue_id, "region_id": region_id, "polarity": ""}, **FORMAT)
    return head.removesuffix('"}')


def claim_tail(sentence: str) -> str:
    """A claim from the end of its polarity on."""
    return '", ' + json.dumps({"sentence": sentence}, **FORMAT)[1:]
