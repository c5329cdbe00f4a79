"""Planted edits and landmarks, on a public-domain photograph (scikit-image's astronaut)."""

import time

import cv2
import numpy as np
import pytest
from skimage import data

from telltale.cues import load_cues
from telltale.lab.edits import EDITS, STRENGTHS, CannotPlant, Donor, twins
from telltale.lab.landmarks import Landmarks, carried, detected, from_boxes, read
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
CUES = {
    "iris_warp": "iris.irregular_outline",
    "highlight_moved": "eyes.highlights_disagree",
    "mouth_blur": "teeth.fused",
    "tooth_warp": "teeth.warped",
    "ear_warp": "ear.malformed",
    "waxy_skin": "skin.waxy",
    "neck_step": "neck.colour_step",
    "hairline_blur": "hair.smeared_hairline",
    "relight_ramp": "light.inconsistent_direction",
    "lattice": "compression.upsampling_lattice",
    "recompression": "compression.local_mismatch",
    "glyphs": "text.scrambled",
    "bent_lines": "background.bent_lines",
    "pasted_eye": "eyes.pasted",
    "pasted_mouth": "lips.pasted",
    "pasted_nose": "nose.pasted",
    "self_blend": "jaw.blend_boundary",
}


def _portrait():
    """The head at twice its size, and landmarks from boxes drawn by hand."""
    left, top, scale = 60, 0, 2
    pixels = data.astronaut()[top : top + 340, left : left + 340]
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    shift = np.array([left, top, left, top])
    found = [(t, tuple((np.array(b) - shift) * float(scale)), 1.0, None) for t, b in BOXES]
    return pixels, from_boxes(regions_of(found, *pixels.shape[1::-1])), found


@pytest.fixture(scope="module")
def portrait():
    pixels, landmarks, _ = _portrait()
    return pixels, landmarks


@pytest.fixture(scope="module")
def donor(portrait):
    """Another face: the same turned about and reddened."""
    _, _, found = _portrait()
    width, height = portrait[0].shape[1::-1]
    turned = [(t, (width - b[2], b[1], width - b[0], b[3]), s, n) for t, b, s, n in found]
    pixels = (portrait[0][:, ::-1] * np.array([1.0, 0.85, 0.8])).astype(np.uint8)
    return Donor(pixels, from_boxes(regions_of(turned, width, height)))


def _twins(kind, portrait, donor, strength=1.0, seed=3):
    return twins(kind, *portrait, strength, np.random.default_rng(seed), donor)


def test_each_kind_plants_its_own_cue():
    assert {kind: edit.cue_id for kind, edit in EDITS.items()} == CUES


def test_every_planted_cue_is_one_the_product_knows():
    known = {cue.cue_id: cue.region for cue in load_cues()}
    assert {e.kind: known.get(e.cue_id) for e in EDITS.values()} == {
        e.kind: e.cue_region for e in EDITS.values()
    }


@pytest.mark.parametrize("kind", CUES)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_pixels_change_inside_the_mask_only(kind, strength, portrait, donor):
    pair = _twins(kind, portrait, donor, strength)
    assert pair.edited.shape == pair.real.shape == portrait[0].shape
    assert pair.mask.dtype == np.float32
    assert pair.mask.min() >= 0
    assert 0 < pair.mask.max() <= 1
    changed = (pair.edited != pair.real).any(axis=2)
    assert changed.any()
    assert not changed[pair.mask == 0].any()


@pytest.mark.parametrize("kind", CUES)
def test_the_same_seed_plants_the_same_bytes(kind, portrait, donor):
    first, second = _twins(kind, portrait, donor), _twins(kind, portrait, donor)
    assert np.array_equal(first.edited, second.edited)
    assert np.array_equal(first.mask, second.mask)


@pytest.mark.parametrize("kind", CUES)
def test_a_plain_edit_changes_more_than_a_subtle_one(kind, portrait, donor):
    def change(strength):
        pairs = [_twins(kind, portrait, donor, strength, seed) for seed in range(8)]
        return np.mean([np.abs(p.edited.astype(int) - p.real).sum() for p in pairs])

    assert change(1.0) > change(0.25)


@pytest.mark.parametrize("kind", CUES)
def test_an_edit_leaves_the_given_picture_alone(kind, portrait, donor):
    before = portrait[0].copy()
    _twins(kind, portrait, donor)
    assert np.array_equal(portrait[0], before)


def test_edits_are_quick_enough_for_a_training_loader(portrait, donor):
    spent = {}
    for kind in CUES:
        start = time.process_time()
        for seed in range(3):
            _twins(kind, portrait, donor, seed=seed)
        spent[kind] = (time.process_time() - start) / 3
    assert max(spent.values()) < 0.5, spent


@pytest.mark.parametrize("kind", ["glyphs", "bent_lines"])
def test_what_an_edit_needs_is_added_to_both_twins(kind, portrait, donor):
    pair = _twins(kind, portrait, donor)
    assert not np.array_equal(pair.real, portrait[0])
    elsewhere = pair.mask == 0
    assert np.array_equal(pair.real[elsewhere], pair.edited[elsewhere])


@pytest.mark.parametrize("kind", [e.kind for e in EDITS.values() if e.needs_donor])
def test_a_feature_cannot_be_pasted_without_a_donor(kind, portrait):
    with pytest.raises(CannotPlant, match="donor"):
        _twins(kind, portrait, None)


def test_teeth_are_not_bent_in_a_closed_mouth(portrait, donor):
    pixels, landmarks = portrait[0].copy(), portrait[1]
    cv2.fillPoly(pixels, [landmarks.group("lips_outer").astype(np.int32)], (170, 90, 95))
    with pytest.raises(CannotPlant, match="teeth"):
        _twins("tooth_warp", (pixels, landmarks), donor)


def test_an_ear_under_hair_is_not_bent(portrait, donor):
    pixels, landmarks = portrait[0].copy(), portrait[1]
    hair = tuple(int(v) for v in np.median(pixels[80:200, 200:230].reshape(-1, 3), axis=0))
    for name in ("ear_left", "ear_right"):
        cv2.fillPoly(pixels, [landmarks.group(name).astype(np.int32)], hair)
    for x, y in landmarks.points[149:154] * 0.9 + landmarks.points[139] * 0.1:
        cv2.circle(pixels, (int(x), int(y)), 8, hair, -1)
    with pytest.raises(CannotPlant, match="ear"):
        _twins("ear_warp", (pixels, landmarks), donor)


def test_a_strength_outside_its_range_is_refused(portrait, donor):
    with pytest.raises(ValueError, match="strength"):
        _twins("waxy_skin", portrait, donor, strength=1.5)


def test_a_face_outside_the_picture_cannot_be_edited(portrait, donor):
    outside = (portrait[0], portrait[1].moved(1.0, 5000, 5000))
    with pytest.raises(CannotPlant):
        _twins("waxy_skin", outside, donor)


def test_landmarks_made_from_boxes_give_those_boxes_back():
    _, landmarks, found = _portrait()
    for (kind, box, _, _), (kind_given, given, _, _) in zip(
        detected(landmarks), found, strict=True
    ):
        assert kind == kind_given
        if kind in ("face", "eye", "nose", "mouth"):
            assert box == pytest.approx(given, abs=0.06 * (given[2] - given[0]))


def test_landmarks_follow_a_face_that_moved(portrait):
    pixels, landmarks = portrait
    moved = np.roll(pixels, (-9, 14), axis=(0, 1))
    error = carried(landmarks, pixels, moved).points - (landmarks.points + np.array([14, -9]))
    assert np.median(np.abs(error)) < 1.5


def test_landmarks_of_another_scheme_are_refused_by_file(tmp_path):
    path = tmp_path / "a.landmarks.json"
    path.write_text('{"points_px": [[1, 2], [3, 4]]}')
    with pytest.raises(ValueError, match=r"a\.landmarks\.json"):
        read(path)
    with pytest.raises(ValueError, match="189"):
        Landmarks(np.zeros((68, 2)))
