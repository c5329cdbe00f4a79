"""A question about one small picture, shared by the tests of the judges."""

import numpy as np

from telltale.cues import load_cues
from telltale.models import Question
from telltale.regions import Region, crop

CUES = {c.cue_id: c for c in load_cues()}
BOXES = {
    "0.eye.0": ("eye", (20.0, 20.0, 60.0, 50.0)),
    "0.mouth": ("mouth", (30.0, 80.0, 80.0, 100.0)),
}
PAIRS = (
    ("eyes.pasted", "0.eye.0"), ("teeth.fused", "0.mouth"), ("iris.irregular_outline", "0.eye.0"),
)  # fmt: skip


def picture(seed: int = 0):
    return np.random.default_rng(seed).integers(0, 255, (128, 112, 3)).astype(np.uint8)


def ask(pairs=PAIRS, crop_px: int = 128, language: str = "en", seed: int = 0) -> Question:
    pixels = picture(seed)
    regions = tuple(Region(name, kind, box, 1.0, 0) for name, (kind, box) in BOXES.items())
    crops = {r.region_id: crop(pixels, r.box_px, crop_px) for r in regions}
    asked = tuple((CUES[cue], region) for cue, region in pairs)
    return Question("a", pixels, regions, crops, asked, language)
