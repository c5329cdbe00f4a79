"""Turned heads have the parts that a person would see, where they are; decoys are no faces."""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np
import pytest

from telltale.lab import composites, decoys, head_shapes, heads
from telltale.lab import landmarks as marks
from telltale.lab.cutouts import Layer, backgrounds, layers

FACE, EYE_LEFT, EYE_RIGHT, NOSE, MOUTH, EAR_LEFT, EAR_RIGHT = range(7)


@pytest.fixture(scope="module")
def person(faces) -> Layer:
    return layers(faces, measuring=False)[0]


def turned(person: Layer, yaw: float, seed: int = 1) -> Layer:
    return heads.head(np.random.default_rng(seed), person, (yaw, 0.0))


def box(layer: Layer, part: int) -> tuple[float, float, float, float]:
    return marks.detected(marks.Landmarks(layer.points))[part][1]


def test_a_face_seen_from_the_front_has_its_parts_in_order(person):
    for seed in range(4):
        front = turned(person, 0, seed)
        assert front.seen[:MOUTH] == (True,) * 4, seed
        left, right, nose, mouth = (box(front, p) for p in (EYE_LEFT, EYE_RIGHT, NOSE, MOUTH))
        assert left[2] < nose[2]
        assert nose[0] < right[0]
        assert max(left[3], nose[1]) < mouth[1]
        assert abs(left[1] - right[1]) < 12


def test_in_profile_the_far_eye_and_the_far_ear_are_out_of_sight(person):
    one, other = turned(person, 85), turned(person, -85)
    assert one.seen[FACE]
    assert other.seen[FACE]
    assert sum(one.seen[EYE_LEFT : EYE_RIGHT + 1]) == sum(other.seen[EYE_LEFT : EYE_RIGHT + 1]) == 1
    assert one.seen[EYE_LEFT] != other.seen[EYE_LEFT]
    assert not one.seen[EAR_RIGHT]
    assert not other.seen[EAR_LEFT]
    assert any(turned(person, 85, seed).seen[EAR_LEFT] for seed in range(4)), "where no hair hangs"
    for layer in (one, other):
        face, nose = box(layer, FACE), box(layer, NOSE)
        assert min(abs(nose[0] - face[0]), abs(nose[2] - face[2])) < 12, "the nose ends the face"


def test_the_back_of_a_head_is_no_face(person):
    assert turned(person, 180).seen[:EAR_LEFT] == (False,) * 5


def test_a_head_fills_its_layer_and_stays_in_it(person):
    for yaw in (-90, -40, 0, 60, 175):
        layer = turned(person, yaw, seed=7)
        solid = layer.alpha[0] > 128
        assert 0.15 < solid.mean() < 0.8
        assert not solid[0].any(), "the top of the head is in the picture"
        x0, y0, x1, y1 = box(layer, FACE)
        assert min(x0, y0) > 0
        assert max(x1, y1) < heads.SIDE_PX


def test_the_skin_is_that_of_the_photograph(person):
    cheeks = person.points[list(marks.GROUPS["cheeks"])].astype(int)
    given = np.median(person.pixels[0][cheeks[:, 1], cheeks[:, 0]], 0)
    drawn = []
    for seed in range(6):
        front = turned(person, 0, seed)
        x, y = front.points[list(marks.GROUPS["cheeks"])].astype(int).T
        drawn.append(np.median(front.pixels[0][y, x], 0))
    drawn = np.median(drawn, 0)
    assert np.abs(drawn / drawn.sum() - given / given.sum()).max() < 0.04


def test_a_seed_draws_the_same_heads_and_tells_how_far_it_is(person):
    told = []
    one, again = (heads.heads([person], 5, 2, lambda *row: told.append(row)) for _ in range(2))
    assert told == [("heads", 1, 2), ("heads", 2, 2)] * 2
    assert all(np.array_equal(a.pixels[0], b.pixels[0]) for a, b in zip(one, again, strict=True))
    other = heads.heads([person], 6, 1)[0]
    assert not np.array_equal(one[0].pixels[0], other.pixels[0])


def test_composites_of_heads_alone_have_their_boxes(person):
    scenes = backgrounds()
    mixed = [person, *heads.heads([person], 3, 6)]
    classes: set[int] = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        _, labels = composites.compose(rng, mixed, scenes, 160, harder=True)
        assert (labels[:, 3:] > labels[:, 1:3]).all()
        classes |= {int(c) for c in labels[:, 0]}
    assert classes == set(range(len(composites.CLASSES)))


def test_dark_glasses_hide_the_eyes_and_clear_ones_do_not():
    eyes = [(60.0, 90.0, 90.0, 105.0), (110.0, 90.0, 140.0, 105.0)]
    hidden, shown = [], []
    for seed in range(40):
        picture = np.full((200, 200, 3), 180, np.uint8)
        dark = decoys.glasses(np.random.default_rng(seed), picture, eyes)
        (hidden if dark else shown).append(abs(picture[97, 75].astype(int) - 180).max())
    assert min(len(hidden), len(shown)) > 5
    assert np.median(hidden) > 60 > np.median(shown)


def test_decoys_stand_in_the_picture(person):
    scenes = backgrounds()
    for seed in range(12):
        picture = np.full((128, 128, 3), 127, np.uint8)
        out = decoys.cluttered(np.random.default_rng(seed), picture, [person], scenes)
        assert out.shape == picture.shape
        assert out.dtype == np.uint8
        assert (picture == 127).all(), "the picture given is not drawn on"
        assert 0.001 < (out != 127).any(-1).mean() < 0.9


def test_the_shapes_of_a_head_are_taken_from_a_mesh_and_its_targets(tmp_path):
    (tmp_path / "3dobjs").mkdir()
    corners = [(0, 6, 0), (1, 6, 0), (1, 7, 0), (0, 7, 0), (0, 2, 0)]
    lines = [f"v {x} {y} {z}" for x, y, z in corners]
    lines += ["g body", "f 1/1 2/2 3/3 4/4", "f 1/1 2/2 5/5", "g helper-skirt", "f 1/1 2/2 3/3"]
    (tmp_path / "3dobjs" / "base.obj").write_text("\n".join(lines))
    for number, path in enumerate(head_shapes._targets(tmp_path / "targets").values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as out:
            out.write("# a target\n" + ("2 0 0.5 0\n4 1 1 1\n" if number == 0 else ""))
    got = head_shapes.extracted(tmp_path)
    assert got["vertices"].tolist() == [list(c) for c in corners[:4]], "what is below is left out"
    assert got["triangles"].tolist() == [[0, 1, 2], [0, 2, 3]]
    assert got["names"].tolist() == ["race-african-female-child"], "empty targets are left out"
    assert np.allclose(got["shapes"][0, 2] * got["scales"][0], [0, 0.5, 0])
    with np.load(str(files("telltale.lab") / "head_shapes.npz")) as shipped:
        assert set(shipped) == set(got)
