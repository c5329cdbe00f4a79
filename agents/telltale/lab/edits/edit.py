"""What a planted edit is: one change of known kind, place and strength to a real photograph.

In: pixels, landmarks, a strength, a random generator, for pasted features a donor. Out: the
changed pixels and a mask; where the mask is 0 the pixels are the very bytes that came in.
``CannotPlant`` says that this picture lacks what the edit needs (teeth, a visible ear, a donor).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from telltale.lab.landmarks import Landmarks
from telltale.regions import Box, CueRegion, Pixels

Mask = NDArray[np.float32]
"""H x W, 0 (untouched) to 1 (fully edited)."""

STRENGTHS: tuple[float, float, float] = (0.25, 0.5, 1.0)
"""Subtle, medium, plain."""


class CannotPlant(ValueError):
    """The picture lacks what the edit needs; try another picture or kind."""


@dataclass(frozen=True)
class Planted:
    """An edited picture, H x W x 3 uint8, and where it was edited, H x W float32 in 0..1."""

    pixels: Pixels
    mask: Mask


@dataclass(frozen=True)
class Donor:
    """Another person's photograph, for features pasted from it."""

    pixels: Pixels
    landmarks: Landmarks


@dataclass(frozen=True)
class Dressed:
    """A picture to which something harmless was added, and the box in pixels where it lies."""

    pixels: Pixels
    where: Box


@dataclass(frozen=True)
class Site:
    """All that an edit may look at; ``where`` is the dressing's box, if the kind has one."""

    pixels: Pixels
    landmarks: Landmarks
    strength: float
    rng: np.random.Generator
    donor: Donor | None = None
    where: Box | None = None

    @property
    def unit_px(self) -> float:
        """The distance between the pupils: the unit of every length in an edit."""
        return self.landmarks.eye_distance_px


class Make(Protocol):
    """The function behind an edit. Raises ``CannotPlant``."""

    def __call__(self, site: Site, /) -> Planted: ...


Dress = Callable[[Pixels, Landmarks, np.random.Generator], Dressed]


@dataclass(frozen=True)
class Edit:
    """One kind of edit and the cue it plants.

    ``dress`` is set for kinds that need something in the picture first (text, straight lines):
    it is applied to both twins alike, so that its presence tells nothing.
    """

    kind: str
    cue_id: str
    cue_region: CueRegion
    make: Make = field(repr=False)
    dress: Dress | None = field(default=None, repr=False)
    needs_donor: bool = False

    def plant(
        self,
        pixels: Pixels,
        landmarks: Landmarks,
        strength: float,
        rng: np.random.Generator,
        donor: Donor | None = None,
        where: Box | None = None,
    ) -> Planted:
        """Plant the edit at ``strength`` (0 to 1; 0.25 subtle, 0.5 medium, 1 plain).

        ``where`` is the box that ``dress`` returned, needed by kinds that have a dressing.
        Raises ``CannotPlant``, and ``ValueError`` for a strength outside 0..1.
        """
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"strength of {self.kind} must be in 0..1, got {strength}")
        if self.needs_donor and donor is None:
            raise CannotPlant(f"{self.kind} needs a donor photograph")
        return self.make(Site(pixels, landmarks, strength, rng, donor, where))
