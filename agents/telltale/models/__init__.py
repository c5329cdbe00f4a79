"""Models behind small interfaces; torch is imported only in the modules of this package.

In: upright sRGB pictures and crops (H x W x 3 uint8) and sentences. Out: numpy arrays and plain
values. This module itself imports no framework, so stages can name the interfaces freely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telltale.cues import Cue
from telltale.events import Judgment
from telltale.regions import Box, DetectedType, Pixels, Region
from telltale.tally import Spared

Embeddings = NDArray[np.float32]
"""n x dim float32, each row of length 1."""

Found = tuple[DetectedType, Box, float, str | None]
"""What a detector reports: type, box (px), confidence 0 to 1, class name of an object."""


class Detector(Protocol):
    """Finds faces, their parts and other objects."""

    revision: str

    def detect(self, pictures: Sequence[Pixels]) -> list[list[Found]]:
        """One list a picture, in order; pictures of any size."""


class Encoder(Protocol):
    """Embeds crops and sentences into one space (CLIP)."""

    revision: str
    dim: int
    size_px: int
    """Side of the square crops that ``encode_images`` takes."""

    def encode_images(self, crops: Sequence[Pixels]) -> Embeddings:
        """len(crops) x dim; an empty sequence gives 0 x dim."""

    def encode_texts(self, sentences: Sequence[str]) -> Embeddings:
        """len(sentences) x dim."""


@dataclass(frozen=True)
class Question:
    """What the multimodal model is asked about one picture.

    ``crops`` holds, by region id, the crops it may look at beside the picture; ``asked`` the
    (cue, region id) pairs that retrieval proposes; a claim may name only these.
    """

    image_id: str
    pixels: Pixels
    regions: tuple[Region, ...]
    crops: Mapping[str, Pixels]
    asked: tuple[tuple[Cue, str], ...]
    language: str = "en"
    extra: Mapping[str, str] = field(default_factory=dict)


class Judge(Protocol):
    """A multimodal model that answers with a ``Judgment``.

    Nonsense, lateness, refusal and an endpoint that does not answer come back, after the attempts
    that the settings allow, as a judgment whose status says so; nothing of the kind is raised.
    """

    revision: str
    crop_px: int
    """Side of the square region crops it is given."""
    needs: tuple[Spared, ...]
    """The server it asks, if it does not compute in this process."""

    def judge(self, questions: Sequence[Question]) -> list[Judgment]:
        """One judgment a question, in order."""


@dataclass(frozen=True)
class MapResult:
    """A saliency map over one crop: ``heat`` is size x size float32, 0 to 1."""

    method: str
    heat: NDArray[np.float32]
    peak: float
    neutral_peak: float
    rise: float
    informative: bool


class Explainer(Protocol):
    """Draws where in a crop the evidence for a sentence lies."""

    revision: str
    methods: tuple[str, ...]

    def explain(
        self, crop: Pixels, artifact: Sequence[str], natural: Sequence[str], method: str
    ) -> MapResult:
        """Map of the logit difference artifact minus natural, both averaged over paraphrases."""
