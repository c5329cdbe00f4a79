"""Training the encoder: crops of twins, labels, and a run that goes on where it stopped."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch._subclasses.fake_tensor import FakeTensorMode

from telltale.cues import load_cues
from telltale.lab.crop_cache import Cache, Rows
from telltale.lab.crops import (
    KINDS,
    LEFT_OUT,
    TRAINED,
    TYPES,
    Photograph,
    draw_pair,
    mask_crop,
    photographs,
    rows_of,
)
from telltale.lab.edits import EDITS
from telltale.lab.elsewhere import Elsewhere
from telltale.lab.encoder_labels import labels_for
from telltale.lab.encoder_learner import CONTEXT, Learner, losses
from telltale.lab.landmarks import from_boxes
from telltale.lab.pairs import split_of
from telltale.lab.train_encoder import draw_rows, train
from telltale.models.clip import load_mini
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


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder with one public-domain portrait under the name of a person to train on."""
    folder = tmp_path_factory.mktemp("faces")
    left, top, scale = 60, 0, 3
    pixels = data.astronaut()[top : top + 340, left : left + 340]
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    shift = np.array([left, top, left, top])
    found = [(t, tuple((np.array(b) - shift) * float(scale)), 1.0, None) for t, b in BOXES]
    landmarks = from_boxes(regions_of(found, *pixels.shape[1::-1]))
    name = next(n for n in ("eileen", "collins", "astronaut", "nasa") if split_of(n) == "train")
    Image.fromarray(pixels).save(folder / f"{name}_neutral.jpg", quality=97)
    points = {"points_px": landmarks.points.tolist()}
    (folder / f"{name}_neutral.landmarks.json").write_text(json.dumps(points))
    return folder


@pytest.fixture(scope="module")
def photo(faces) -> Photograph:
    return photographs(faces, measuring=False)[0]


@pytest.mark.parametrize("kind", ["waxy_skin", "iris_warp", "neck_step", "glyphs"])
def test_the_two_pictures_of_a_pair_differ_where_the_edit_is(photo, kind):
    pair = draw_pair([photo], kind, 1.0, np.random.default_rng(5))
    assert pair.real.shape == pair.edited.shape
    assert pair.mask.shape == pair.real.shape[:2]
    change = np.abs(pair.real.astype(int) - pair.edited.astype(int)).mean(2)
    inside, outside = change[pair.mask > 0.5], change[pair.mask == 0]
    assert inside.mean() > 1
    assert inside.mean() > 5 * outside.mean()  # what is left outside is JPEG's answer


def test_the_same_seed_draws_the_same_pair(photo):
    one, two = (draw_pair([photo], "self_blend", 0.7, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(one.edited, two.edited)
    assert one.regions == two.regions


def test_a_pair_set_elsewhere_differs_where_the_edit_is_alone(photo):
    scene = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        pair = draw_pair([photo], "neck_step", 1.0, rng, Elsewhere(1.0, [scene]))
        change = np.abs(pair.real.astype(int) - pair.edited.astype(int)).mean(2)
        assert change[pair.mask > 0.5].mean() > 3 * change[pair.mask == 0].mean()


def test_another_place_stands_behind_the_person_and_not_before(photo):
    green = np.zeros((64, 64, 3), np.uint8)
    green[..., 1] = 255
    moved = 0
    for seed in range(12):
        out = Elsewhere(1.0, [green]).moved(photo.pixels, photo.matte, np.random.default_rng(seed))
        assert out.shape == photo.pixels.shape
        r, g, b = (out[..., n].astype(int) for n in range(3))
        behind, person = photo.matte < 8, photo.matte > 247
        if (g - np.maximum(r, b))[behind].mean() > 40:
            moved += 1
            assert (g - np.maximum(r, b))[person].mean() < 20
    assert moved >= 4  # the others keep their wall, or lost their colour


def test_the_own_region_comes_at_both_scales_and_holds_the_edit(photo):
    rng = np.random.default_rng(2)
    pair = draw_pair([photo], "mouth_blur", 1.0, rng)
    rows = list(rows_of(pair, rng))
    own = [(region.type, scale) for region, scale, is_own in rows if is_own]
    assert own == [("mouth", 1.0), ("mouth", 1.6)]
    assert mask_crop(pair.mask, rows[0][0].box_px, 1.0).max() > 200


def test_labels_say_the_planted_cue_and_nothing_of_places_out_of_sight():
    cues = load_cues()
    labels = labels_for(cues)
    number = {c.cue_id: n for n, c in enumerate(cues)}
    eye, nose = TYPES.index("eye"), TYPES.index("nose")
    warped = KINDS.index("iris_warp") + 1
    iris = number["iris.irregular_outline"]
    assert labels.artifact[warped, eye, iris] == 1
    assert labels.artifact[0, eye, iris] == 0
    assert labels.artifact[warped, nose, iris] == 0
    assert labels.seen[nose, iris] == 0
    assert labels.artifact[warped, eye, number["eyes.pasted"]] == 0
    assert labels.weight[warped, eye, number["eyes.pasted"]] < 1  # probably false, not surely
    assert set(labels.artifact[0].ravel()) == {0.0}


def test_kinds_left_out_are_never_trained_on():
    assert set(LEFT_OUT) < set(EDITS)
    assert not set(LEFT_OUT) & set(TRAINED)
    assert len(TRAINED) + len(LEFT_OUT) == len(EDITS)


def test_training_goes_on_where_it_stopped_and_ends_in_loadable_weights(faces, tmp_path):
    torch.set_num_threads(1)
    small = {"seed": 3, "shards": 1, "twins": 28}
    train(faces, tmp_path, steps=2, **small)
    before = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    weights = train(faces, tmp_path, steps=50, minutes=0, **small)
    stopped = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert stopped["steps"] == before["steps"] == 2  # no minutes, no steps
    train(faces, tmp_path, steps=4, **small)
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert after["steps"] == 4
    assert after["elapsed_s"] > before["elapsed_s"]
    encoder = load_mini(weights)
    assert encoder.encode_images([np.zeros((128, 128, 3), np.uint8)]).shape == (1, 512)

    cache = Cache(tmp_path / "cache")
    drawn = cache.rows(draw_rows(cache, np.random.default_rng(0), 64, easy=True))
    assert drawn.crops.shape == (64, 2, 128, 128, 3)
    assert not {KINDS[k] for k in drawn.kind} & set(LEFT_OUT)

    hard = np.full(len(KINDS), 1e-6, np.float32)
    hard[KINDS.index("mouth_blur")] = 1.0
    drawn = cache.rows(draw_rows(cache, np.random.default_rng(0), 64, easy=False, hard=hard))
    assert (drawn.kind == KINDS.index("mouth_blur")).sum() >= 32  # and the others still come
    assert len(set(drawn.kind.tolist())) > 5


def test_the_curve_has_a_line_every_fifty_steps(tmp_path):
    from telltale.lab.train_encoder import Run
    from telltale.models.clip import TOKENIZER_FOLDER, mini_folder, tokenizer_of

    run = Run(load_cues(), tokenizer_of(mini_folder() / TOKENIZER_FOLDER, 48), tmp_path, 1)
    for run.steps in range(1, 101):
        run._log({"contrast": 1.0 / run.steps})
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [row["step"] for row in rows] == ["50", "100"]


class Blank:
    """Sentences without words: fake tensors hold no values to cut them by."""

    def draw(self, cues, rng):
        return torch.zeros((2 * len(cues), CONTEXT), dtype=torch.long)


def test_a_batch_is_learned_from_where_the_model_is():
    """A device that is not there: fake tensors refuse, as a GPU does, to be mixed with a CPU's."""
    rng, pairs, cues = np.random.default_rng(0), 6, load_cues()
    rows = Rows(
        rng.integers(0, 256, (pairs, 2, 128, 128, 3)).astype(np.uint8),
        np.full((pairs, 16, 16), 255, np.uint8),
        np.arange(pairs),
        np.full(pairs, TYPES.index("face")),
        np.ones(pairs, np.float32),
        np.ones(pairs, bool),
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            learner = Learner(len(cues))
        found = losses(learner, labels_for(cues), Blank(), rows, rng)
    assert {str(loss.device) for loss in found.values()} == {"cuda:0"}
