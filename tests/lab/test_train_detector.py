"""A training draws the same pictures from a seed, stops, goes on, and measures what it made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from telltale.lab import landmarks, measure_detector
from telltale.lab.composites import CLASSES, compose
from telltale.lab.cutouts import Layer, backgrounds, held_out, layers
from telltale.lab.precision import average_precision, by_width, compared, intervals, parts_found
from telltale.lab.train_detector import (
    HEADS_FROM,
    Material,
    Plan,
    Training,
    batch_of,
    collated,
    train,
)
from telltale.models.yolo import YoloDetector
from telltale.regions import Pixels

PEOPLE = ("p01", "p02", "p03", "p04", "p18", "p33")


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """Drawn people with the landmarks of the mean face, before an even wall."""
    folder = tmp_path_factory.mktemp("faces")
    mean = landmarks.Landmarks(landmarks.mean_shape())
    span = float(np.ptp(mean.points))
    fitted = mean.moved(240.0 / span)
    fitted = fitted.moved(1.0, *(np.array([200.0, 180.0]) - fitted.points.mean(0)))
    for number, person in enumerate(PEOPLE):
        picture = np.full((400, 400, 3), 190, np.uint8)
        skin = (200 - 8 * number, 150 - 8 * number, 120 - 6 * number)
        cv2.fillConvexPoly(picture, cv2.convexHull(fitted.points.astype(np.int32)), skin)
        for name in ("iris_left", "iris_right", "lips_outer"):
            cv2.fillPoly(picture, [fitted.group(name).astype(np.int32)], (60, 30, 40))
        Image.fromarray(picture).save(folder / f"{person}_neutral.jpg")
        points = {"points_px": fitted.points.tolist()}
        (folder / f"{person}_neutral.landmarks.json").write_text(json.dumps(points))
    return folder


@pytest.fixture(scope="module")
def people(faces) -> list[Layer]:
    return layers(faces, measuring=False)


@pytest.fixture(scope="module")
def scenes() -> list[Pixels]:
    return backgrounds()


def test_no_person_is_both_trained_on_and_measured_on(faces, people):
    kept = {layer.person for layer in layers(faces, measuring=True)}
    assert kept
    assert not kept & {layer.person for layer in people}
    assert kept == {p for p in PEOPLE if held_out(p)}


def test_a_seed_draws_the_same_picture_and_another_seed_another(people, scenes):
    draw = [compose(np.random.default_rng(s), people, scenes, 128) for s in (3, 3, 4)]
    assert np.array_equal(draw[0][0], draw[1][0])
    assert np.array_equal(draw[0][1], draw[1][1])
    assert not np.array_equal(draw[0][0], draw[2][0])


def test_boxes_are_in_the_picture_and_some_pictures_have_none(people, scenes):
    counts = []
    for number in range(60):
        picture, labels = compose(np.random.default_rng(number), people, scenes, 160)
        assert picture.shape == (160, 160, 3)
        assert picture.dtype == np.uint8
        assert (labels[:, 1:] >= 0).all()
        assert (labels[:, 1:] <= 160).all()
        assert (labels[:, 3:] > labels[:, 1:3]).all()
        counts.append(int((labels[:, 0] == 0).sum()))
    assert min(counts) == 0
    assert max(counts) >= 3


def test_a_training_that_stopped_goes_on_to_the_same_weights(tmp_path, people, scenes):
    torch.set_num_threads(1)
    plan = Plan(seed=1, steps=4, batch=2)
    batches = [collated(batch_of(plan, step, Material(people, [], scenes))) for step in range(4)]
    through, first = Training(plan, tmp_path / "a"), Training(plan, tmp_path / "b")
    for batch in batches:
        through.advance(batch)
    for batch in batches[:2]:
        first.advance(batch)
    first.save()
    second = Training(plan, tmp_path / "b")
    assert second.load()
    assert second.step == 2
    for batch in batches[2:]:
        second.advance(batch)
    whole, resumed = through.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_turned_heads_join_once_the_easy_ones_are_learned(people, scenes):
    heads = [replace(people[0], turns=False)] * len(people)
    material = Material(people, heads, scenes)
    assert material.at(0.0) == people
    later = material.at(HEADS_FROM)
    assert len(later) == 2 * len(people)
    assert sum(not layer.turns for layer in later) == len(people)


def test_another_plan_does_not_go_on_from_a_checkpoint(tmp_path):
    Training(Plan(seed=1, steps=4), tmp_path).save()
    with pytest.raises(ValueError, match="another training"):
        Training(Plan(seed=2, steps=4), tmp_path).load()


def test_training_may_begin_with_earlier_weights_and_knows_them_again(tmp_path, faces):
    train(faces, tmp_path / "first", seed=1, steps=1, batch=2)
    first = load_file(tmp_path / "first" / "detector.safetensors")
    begun = {"seed": 2, "steps": 9, "batch": 2, "start": tmp_path / "first"}
    train(faces, tmp_path / "second", minutes=0, **begun)
    second = load_file(tmp_path / "second" / "detector.safetensors")
    assert all(torch.equal(first[k], second[k]) for k in first)
    with pytest.raises(ValueError, match="another training"):
        train(faces, tmp_path / "second", minutes=0, **begun | {"start": None})


def test_training_writes_weights_that_the_detector_runs_and_a_curve(tmp_path, faces):
    rows: list[dict[str, float]] = []
    path = train(faces, tmp_path, seed=1, steps=2, batch=2, progress=rows.append)
    assert [row["step"] for row in rows] == [1, 2]
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 3
    assert all(v.dtype in (torch.float16, torch.int64) for v in load_file(path).values())
    assert YoloDetector(path).detect([np.zeros((50, 80, 3), np.uint8)]) == [[]]


def test_parts_are_counted_by_the_width_of_their_face():
    face, eye = CLASSES.index("face"), CLASSES.index("eye")
    small = [[face, 0, 0, 40, 40], [eye, 5, 5, 15, 15], [eye, 25, 5, 35, 15]]
    large = [[face, 100, 0, 400, 300], [eye, 150, 50, 200, 100], [eye, 500, 50, 550, 100]]
    labels = np.array(small + large, dtype=np.float32)
    found = [
        ("eye", (5.0, 5.0, 15.0, 15.0), 0.9, None),
        ("nose", (25.0, 5.0, 35.0, 15.0), 0.9, None),
    ]
    parts = parts_found(labels, [*found, ("eye", (150.0, 50.0, 200.0, 90.0), 0.9, None)])
    assert parts == [("eye", 0, True), ("eye", 0, False), ("eye", 3, True)], "one lies in no face"
    table = by_width([parts, []], seed=0, draws=20)
    assert set(table) == {"eye"}
    assert (table["eye"]["under 48 px"]["value"], table["eye"]["under 48 px"]["parts"]) == (0.5, 2)
    assert table["eye"]["200 px and over"]["value"] == 1.0


def test_average_precision_counts_what_is_found_twice_or_wrongly_against_it():
    labels = np.array([[0, 0, 0, 10, 10], [0, 50, 50, 60, 60]], np.float32)
    right = [
        ("face", (0.0, 0.0, 10.0, 10.0), 0.9, None),
        ("face", (50.0, 50.0, 60.0, 60.0), 0.8, None),
    ]
    again = ("face", (0.0, 0.0, 10.0, 9.0), 0.85, None)
    assert average_precision([compared(labels, right)], 0) == 1.0
    assert average_precision([compared(labels, [*right, again])], 0) == pytest.approx(0.5 + 1 / 3)
    assert average_precision([compared(labels, right[:1])], 0) == 0.5
    table = intervals([compared(labels, right)] * 3, draws=5, seed=0)
    assert table["face"]["low"] == 1.0
    assert set(table) == {*CLASSES, "mean", "mean_of_parts"}


def test_misses_are_told_by_group_with_an_interval_only_where_there_are_several(faces, monkeypatch):
    kept = [p for p in PEOPLE if held_out(p)]
    rows = "".join(f"{p},30,female,{'ab'[n == 0]}\n" for n, p in enumerate(kept))
    (faces / "people.csv").write_text("face_id,face_age,face_gender,face_eth\n" + rows)

    class Blind:
        """Finds nothing."""

        def __init__(self, weights):
            pass

        def detect(self, pictures):
            return [[] for _ in pictures]

    monkeypatch.setattr(measure_detector, "YoloDetector", Blind)
    table = measure_detector.misses_by_group(faces)
    assert table["everyone"]["people"] == len(kept) > 1
    assert table["female"]["faces"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert table["b"] == {
        "people": 1,
        "faces": {"value": 1.0, "low": None, "high": None},
        "parts": {"value": 1.0, "low": None, "high": None},
    }
