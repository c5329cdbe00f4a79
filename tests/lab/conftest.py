"""A folder of photographs as the mini models are trained on, from a public-domain portrait."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from telltale.lab.cutouts import held_out
from telltale.lab.landmarks import from_boxes
from telltale.lab.pairs import split_of
from telltale.regions import regions_of

BOXES = [
    ("face", (176, 86, 274, 183)),
    ("eye", (189, 94, 215, 108)),
    ("eye", (233, 96, 262, 111)),
    ("nose", (208, 95, 242, 137)),
    ("mouth", (199, 136, 249, 157)),
    ("ear", (168, 108, 183, 132)),
    ("ear", (268, 115, 282, 138)),
]


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """One public-domain portrait under the name of a person whom every model trains on."""
    folder = tmp_path_factory.mktemp("faces")
    left, scale = 60, 3
    pixels = data.astronaut()[:340, left : left + 340]
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    shift = np.array([left, 0, left, 0])
    found = [(t, tuple((np.array(b) - shift) * float(scale)), 1.0, None) for t, b in BOXES]
    landmarks = from_boxes(regions_of(found, *pixels.shape[1::-1]))
    name = next(
        n for n in map("p{}".format, range(9)) if split_of(n) == "train" and not held_out(n)
    )
    Image.fromarray(pixels).save(folder / f"{name}_neutral.jpg", quality=97)
    points = {"points_px": landmarks.points.tolist()}
    (folder / f"{name}_neutral.landmarks.json").write_text(json.dumps(points))
    return folder
