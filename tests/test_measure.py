"""Each measurement rises with the artifact it measures."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from telltale.measure import (
    MEASUREMENTS,
    blockiness,
    pupil_roundness,
    seam_colour_step,
    spectrum_peak,
)

WHOLE = (0.0, 0.0, 128.0, 128.0)


def face() -> np.ndarray:
    return np.asarray(data.astronaut())[40:168, 150:278]


def eye(points) -> np.ndarray:
    """A light eye with a dark pupil of that outline."""
    picture = Image.new("RGB", (128, 128), (190, 180, 170))
    ImageDraw.Draw(picture).polygon(points, fill=(15, 12, 10))
    return np.asarray(picture)


def outline(bumps: float) -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    radius = 24 * (1 + bumps * np.sin(5 * turns))
    return [
        (64 + r * math.cos(t), 64 + r * math.sin(t)) for r, t in zip(radius, turns, strict=True)
    ]


def test_a_ragged_pupil_is_less_round() -> None:
    assert pupil_roundness(eye(outline(0.0)), WHOLE) < 0.06
    assert (
        pupil_roundness(eye(outline(0.35)), WHOLE)
        > pupil_roundness(eye(outline(0.0)), WHOLE) + 0.05
    )


def test_a_colour_step_across_a_seam_is_seen() -> None:
    smooth = np.tile(np.linspace(120, 140, 128)[:, None, None], (1, 128, 3)).astype(np.uint8)
    stepped = smooth.copy()
    stepped[64:, :, 0] += 25
    assert seam_colour_step(stepped, WHOLE) > seam_colour_step(smooth, WHOLE) + 5


def test_a_local_recompression_leaves_its_grid() -> None:
    picture = np.asarray(Image.fromarray(np.asarray(data.astronaut())))
    out = io.BytesIO()
    Image.fromarray(picture[43:171, 153:281]).save(out, "JPEG", quality=8)
    edited = picture.copy()
    edited[43:171, 153:281] = np.asarray(Image.open(out))
    box = (153.0, 43.0, 281.0, 171.0)
    assert blockiness(edited, box) > blockiness(picture, box) + 0.1


def test_nearest_neighbour_upsampling_leaves_spectral_peaks() -> None:
    small = face()[::2, ::2]
    lattice = small.repeat(2, axis=0).repeat(2, axis=1)
    assert spectrum_peak(lattice, WHOLE) > spectrum_peak(face(), WHOLE)


@pytest.mark.parametrize("name", sorted(MEASUREMENTS))
def test_a_region_too_small_to_measure_is_not_a_number(name) -> None:
    assert math.isnan(MEASUREMENTS[name](face(), (0.0, 0.0, 10.0, 10.0)))
