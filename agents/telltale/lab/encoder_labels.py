"""What a crop says about a cue: the targets of the encoder's contrastive training.

In: which edit a crop shows, if any, and its region type. Out: for every cue, how far its artifact
and its natural sentences are true of the crop. Pure tables; they raise ``KeyError`` for a planted
cue that the corpus does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telltale.cues import Cue
from telltale.lab.crops import KINDS, TRAINED, TYPES
from telltale.lab.edits import EDITS
from telltale.regions import WHERE

Table = NDArray[np.float32]
KIN_WEIGHT = 0.3
"""Cues of the planted cue's family that no training edit plants: likely true, so a light target."""
OTHER_WEIGHT = 0.3
"""Planted cues of other families: likely false, but one edit may well look like another."""


@dataclass(frozen=True)
class Labels:
    """Targets by region type and state of a crop: untouched (row 0) or edited with kind k (k+1).

    ``artifact`` is states x types x cues: 1 true, 0 false; ``weight`` how sure that is (0: not
    known). A natural sentence is true where the artifact is false and the cue could be seen
    (``seen``, types x cues); where it could not, both are false.
    """

    artifact: Table
    weight: Table
    seen: Table
    planted: NDArray[np.int64]
    """For each kind the number of the cue that it plants."""


def labels_for(cues: Sequence[Cue]) -> Labels:
    """The tables for a corpus."""
    number = {cue.cue_id: n for n, cue in enumerate(cues)}
    planted = np.array([number[EDITS[k].cue_id] for k in KINDS], np.int64)
    trained = {number[EDITS[k].cue_id] for k in TRAINED}
    seen = np.array([[t in WHERE[c.region] for c in cues] for t in TYPES], np.float32)
    artifact = np.zeros((len(KINDS) + 1, len(TYPES), len(cues)), np.float32)
    weight = np.ones_like(artifact)
    for k, kind in enumerate(KINDS):
        for n, cue in enumerate(cues):
            if n == planted[k]:
                artifact[k + 1, :, n] = 1.0
                weight[k + 1, :, n] = 1.0
            elif n in trained:
                kin = cue.region == EDITS[kind].cue_region
                weight[k + 1, :, n] = 0.0 if kin else OTHER_WEIGHT
            elif cue.family == cues[planted[k]].family:
                artifact[k + 1, :, n] = 1.0
                weight[k + 1, :, n] = KIN_WEIGHT
            else:
                weight[k + 1, :, n] = 0.0
    artifact *= seen[None]
    weight = np.where(seen[None] > 0, weight, 1.0).astype(np.float32)
    return Labels(artifact, weight, seen, planted)
