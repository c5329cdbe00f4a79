"""Planted edits: seventeen kinds, each of which puts one cue into a real photograph.

``EDITS`` maps a kind to its ``Edit``; ``twins`` makes a pair that differs in the edit alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telltale.lab.edits.blend import self_blend
from telltale.lab.edits.edit import (
    STRENGTHS,
    CannotPlant,
    Donor,
    Dressed,
    Edit,
    Mask,
    Planted,
    Site,
)
from telltale.lab.edits.eyes import highlight_moved, iris_warp
from telltale.lab.edits.head import ear_warp, hairline_blur, neck_step, relight_ramp, waxy_skin
from telltale.lab.edits.mouth import mouth_blur, tooth_warp
from telltale.lab.edits.paste import pasted_eye, pasted_mouth, pasted_nose
from telltale.lab.edits.scenes import bent_lines, glyphs, lettering, straight_lines
from telltale.lab.edits.traces import lattice, recompression
from telltale.lab.landmarks import Landmarks
from telltale.regions import Pixels

__all__ = [
    "EDITS", "STRENGTHS", "CannotPlant", "Donor", "Dressed", "Edit", "Mask", "Planted", "Site",
    "Twins", "twins",
]  # fmt: skip

_ALL = (
    Edit("iris_warp", "iris.irregular_outline", "iris", iris_warp),
    Edit("highlight_moved", "eyes.highlights_disagree", "eyes", highlight_moved),
    Edit("mouth_blur", "teeth.fused", "teeth", mouth_blur),
    Edit("tooth_warp", "teeth.warped", "teeth", tooth_warp),
    Edit("ear_warp", "ear.malformed", "ear", ear_warp),
    Edit("waxy_skin", "skin.waxy", "skin", waxy_skin),
    Edit("neck_step", "neck.colour_step", "neck", neck_step),
    Edit("hairline_blur", "hair.smeared_hairline", "hair", hairline_blur),
    Edit("relight_ramp", "light.inconsistent_direction", "light", relight_ramp),
    Edit("lattice", "compression.upsampling_lattice", "compression", lattice),
    Edit("recompression", "compression.local_mismatch", "compression", recompression),
    Edit("glyphs", "text.scrambled", "text", glyphs, lettering),
    Edit("bent_lines", "background.bent_lines", "background", bent_lines, straight_lines),
    Edit("pasted_eye", "eyes.pasted", "eyes", pasted_eye, needs_donor=True),
    Edit("pasted_mouth", "lips.pasted", "lips", pasted_mouth, needs_donor=True),
    Edit("pasted_nose", "nose.pasted", "nose", pasted_nose, needs_donor=True),
    Edit("self_blend", "jaw.blend_boundary", "jaw", self_blend),
)

EDITS: dict[str, Edit] = {edit.kind: edit for edit in _ALL}
"""Every kind by name."""


@dataclass(frozen=True)
class Twins:
    """Two pictures of one size that differ in a planted edit alone."""

    real: Pixels
    edited: Pixels
    mask: Mask
    kind: str
    cue_id: str
    strength: float


def twins(
    kind: str,
    pixels: Pixels,
    landmarks: Landmarks,
    strength: float,
    rng: np.random.Generator,
    donor: Donor | None = None,
) -> Twins:
    """A pair for one kind: dressed alike where the kind has a dressing, edited on one side.

    The pair depends on the arguments and the generator's state alone. Raises ``KeyError`` for an
    unknown kind, ``CannotPlant`` where the picture does not lend itself to it.
    """
    edit = EDITS[kind]
    where = None
    if edit.dress is not None:
        dressed = edit.dress(pixels, landmarks, rng)
        pixels, where = dressed.pixels, dressed.where
    planted = edit.plant(pixels, landmarks, strength, rng, donor, where)
    return Twins(pixels, planted.pixels, planted.mask, kind, edit.cue_id, strength)
