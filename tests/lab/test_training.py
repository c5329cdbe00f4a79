"""Each mini model trains from one command: it goes on, draws its curve, ships, and says what is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from telltale.commands.lab import lab
from telltale.errors import UsageError
from telltale.lab import train_detector, train_judge, training
from telltale.models import files

SMALL = {
    "detector": {"batch": 2},
    "encoder": {"shards": 1, "twins": 28},
    "judge": {"shards": 1, "most_crops": 0},
}


@pytest.mark.parametrize("part", training.TRAININGS)
def test_training_goes_on_to_more_steps_draws_its_curve_and_ships(
    part, faces, tmp_path, monkeypatch
):
    monkeypatch.setattr(train_judge, "TOKENS_PER_STEP", 300)
    monkeypatch.setattr(train_judge, "SAVE_EVERY", 1)
    torch.set_num_threads(1)
    # a detector's schedule follows the steps it was begun for; run again, it has nothing to do
    for steps in (2, 2) if part == "detector" else (1, 2):
        order = training.Order(faces, tmp_path, 1, 20.0, steps, material=SMALL[part])
        weights = training.train(part, order)
    done = json.loads((tmp_path / training.TRAINING).read_text())
    assert done == {"part": part, "seed": 1}
    assert any(tmp_path.glob("checkpoint.*"))
    monkeypatch.setattr(files, "mini_folder", lambda: tmp_path / "package")
    if part != "detector":
        module = __import__(f"telltale.lab.train_{part}", fromlist=["mini_folder"])
        monkeypatch.setattr(module, "mini_folder", lambda: tmp_path / "package")
    training.ship(part, weights)
    shipped = {p.name for p in (tmp_path / "package").rglob("*.safetensors")}
    assert shipped == {"model.safetensors" if part == "judge" else f"{part}.safetensors"}
    if part == "detector":  # the others write a line to their curve every so many steps
        assert Image.open(tmp_path / "curve.png").size[0] > 300


@pytest.mark.parametrize("part", training.TRAININGS)
def test_a_limit_in_minutes_says_where_it_stopped_and_no_limit_trains_all_steps(
    part, faces, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(train_judge, "TOKENS_PER_STEP", 300)
    torch.set_num_threads(1)
    shipped = []
    monkeypatch.setattr(training, "ship", lambda *what: shipped.append(what))
    begun = {"steps": 1, "material": SMALL[part], "ship": True}
    with pytest.raises(UsageError, match="not finished, and the package keeps those it has"):
        training.train(part, training.Order(faces, tmp_path, 1, 0.0, **begun))
    assert "stopped at step 0 of 1 by --minutes" in " ".join(capsys.readouterr().err.split())
    assert shipped == []
    weights = training.train(part, training.Order(faces, tmp_path, 1, None, **begun))
    assert shipped == [(part, weights)]
    said = capsys.readouterr().err
    assert part in said  # its bar
    assert "stopped" not in said


def test_a_training_has_no_limit_but_its_steps_unless_one_is_given(faces, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "train", lambda part, order: asked.append(order) or tmp_path)
    call = ["train", "judge", "--faces", str(faces), "--out", str(tmp_path)]
    assert CliRunner().invoke(lab, call).exit_code == 0
    assert CliRunner().invoke(lab, [*call, "--minutes", "5", "--steps", "9"]).exit_code == 0
    assert [(o.minutes, o.steps) for o in asked] == [(None, None), (5.0, 9)]


def test_a_folder_of_another_training_is_not_gone_on_with(faces, tmp_path):
    (tmp_path / training.TRAINING).write_text('{"part": "encoder", "seed": 1}')
    for part, seed in (("judge", 1), ("encoder", 2)):
        with pytest.raises(UsageError, match=r"training of the encoder from seed 1"):
            training.train(part, training.Order(faces, tmp_path, seed, 1.0, 1))


def test_a_detector_begun_for_other_steps_is_not_gone_on_with(faces, tmp_path):
    order = training.Order(faces, tmp_path, 1, 20.0, 2, material=SMALL["detector"])
    training.train("detector", order)
    more = training.Order(faces, tmp_path, 1, 20.0, 3, material=SMALL["detector"])
    with pytest.raises(UsageError, match="another training"):
        training.train("detector", more)


def test_a_detector_names_the_weights_it_began_with(faces, tmp_path):
    first = files.mini_folder()
    order = training.Order(faces, tmp_path, 1, 20.0, 1, first, SMALL["detector"])
    plan = json.loads(training.train("detector", order).with_suffix(".json").read_text())
    digest = hashlib.sha256((first / "detector.safetensors").read_bytes()).hexdigest()
    assert plan["training"]["start"] == digest
    assert plan["training"]["peak_rate"] == train_detector.PEAK_RATE / 2


def test_a_judge_begins_with_the_weights_named(faces, tmp_path):
    first = files.mini_folder() / "judge"
    order = training.Order(faces, tmp_path, 1, 0.0, None, first, SMALL["judge"])
    done = load_file(training.train("judge", order) / "model.safetensors")
    learned = {k: v for k, v in load_file(first / "model.safetensors").items() if "tower" not in k}
    assert learned
    assert all(torch.equal(done[k], v) for k, v in learned.items())


def test_an_encoder_goes_on_from_another_folder_with_other_material(faces, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    training.train("encoder", training.Order(faces, one, 1, 20.0, 1, material=SMALL["encoder"]))
    training.train("encoder", training.Order(faces, two, 2, 20.0, 2, one, SMALL["encoder"]))
    done = [torch.load(d / "checkpoint.pt", weights_only=True)["steps"] for d in (one, two)]
    assert done == [1, 2]
    drawn = [(d / "cache" / "0000.npz").read_bytes() for d in (one, two)]
    assert drawn[0] != drawn[1]


def test_weights_to_begin_with_must_be_there(faces, tmp_path):
    for part, name in training.STARTS.items():
        with pytest.raises(UsageError, match=f"no {name} there"):
            training.train(part, training.Order(faces, tmp_path, 1, 1.0, 1, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", training.TRAININGS)
def test_a_folder_without_photographs_is_named(part, tmp_path):
    (tmp_path / "empty").mkdir()
    command = ["train", part, "--faces", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(lab, [*command, "--steps", "1"])
    assert isinstance(done.exception, UsageError)
    assert str(tmp_path / "empty") in str(done.exception)
    shutil.rmtree(tmp_path / "out")
    done = CliRunner().invoke(lab, ["train", part, "--faces", "/no/such", "--out", str(tmp_path)])
    assert "/no/such" in str(done.exception)


def test_how_much_and_how_large_a_step_are_passed_on(faces, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "train", lambda part, order: asked.append(order) or tmp_path)
    call = ["train", "encoder", "--faces", str(faces), "--out", str(tmp_path)]
    assert CliRunner().invoke(lab, [*call, "--batch", "64", "--shards", "3"]).exit_code == 0
    assert CliRunner().invoke(lab, call).exit_code == 0
    assert [order.material for order in asked] == [{"batch": 64, "shards": 3}, {}]


def test_a_detector_has_no_shards(faces, tmp_path):
    call = ["train", "detector", "--faces", str(faces), "--out", str(tmp_path), "--shards", "3"]
    result = CliRunner().invoke(lab, call)
    assert isinstance(result.exception, UsageError)
    assert "--shards" in str(result.exception)


def test_scenes_are_passed_on_to_a_detector_and_refused_for_others(faces, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "train", lambda part, order: asked.append(order) or tmp_path)
    call = ["--faces", str(faces), "--out", str(tmp_path), "--scenes", str(faces)]
    assert CliRunner().invoke(lab, ["train", "detector", *call]).exit_code == 0
    assert asked[0].material["scenes"] == (faces,)
    for part, scenes, said in (
        ("judge", faces, "only a detector"),
        ("detector", "/no", "/no: no such"),
    ):
        result = CliRunner().invoke(lab, ["train", part, *call[:-1], str(scenes)])
        assert isinstance(result.exception, UsageError)
        assert said in str(result.exception)
