"""The detector finds faces and their parts, in any company, and says so when it cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from telltale.errors import UsageError, WeightsMissing
from telltale.lab import landmarks as marks
from telltale.lab.outside import photographs, told_apart
from telltale.models.yolo import YoloDetector, load_detector, mini_weights
from telltale.regions import Box, Pixels, overlap
from telltale.settings import load_settings

sys.path.insert(0, str(Path(__file__).parent))
from tiny_detector import save_detector

ASTRONAUT_FACE: Box = (180.0, 86.0, 266.0, 182.0)
"""Brows to chin, cheek to cheek, drawn by hand on scikit-image's astronaut."""


@pytest.fixture(scope="module")
def detector() -> YoloDetector:
    return YoloDetector()


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return np.asarray(data.astronaut(), dtype=np.uint8)


def test_the_shipped_detector_finds_the_face_of_a_photograph_nobody_composed(detector, astronaut):
    faces = [box for kind, box, _, _ in detector.detect([astronaut])[0] if kind == "face"]
    assert max(overlap(box, ASTRONAUT_FACE) for box in faces) > 0.4


def test_a_face_that_fills_the_picture_has_its_box_and_its_parts(detector, astronaut):
    near = np.asarray(cv2.resize(astronaut[40:220, 135:315], (720, 720)), dtype=np.uint8)
    found = detector.detect([near])[0]
    x0, y0, x1, y1 = ((v - o) * 4 for v, o in zip(ASTRONAUT_FACE, (135, 40, 135, 40), strict=True))
    (face,) = [box for kind, box, _, _ in found if kind == "face"]
    assert overlap(face, (x0, y0, x1, y1)) > 0.75
    kinds = [kind for kind, *_ in found]
    assert (kinds.count("eye"), kinds.count("nose"), kinds.count("mouth")) == (2, 1, 1)


def test_parts_lie_within_the_face_they_belong_to(detector, astronaut):
    found = detector.detect([astronaut])[0]
    eyes = [box for kind, box, _, _ in found if kind == "eye"]
    x0, y0, x1, y1 = ASTRONAUT_FACE
    assert any(x0 < (e[0] + e[2]) / 2 < x1 and y0 < (e[1] + e[3]) / 2 < y1 for e in eyes)


@pytest.mark.parametrize(
    ("photograph", "found", "false"),
    [("ultralytics/assets/bus.jpg", 2, 0), ("ultralytics/assets/zidane.jpg", 2, 0)],
)
def test_on_a_street_and_in_a_stadium_no_fewer_faces_are_found_than_are_known_to_be(
    detector, photograph, found, false
):
    """Among them a man in dark glasses, one who shouts in profile, one who looks aside. Whoever betters
    it, or must do with less, says so here and in the card."""
    (path, faces) = next((p, faces) for name, p, faces in photographs() if name == photograph)
    told = told_apart(faces, detector.detect([marks.photograph(path)])[0])
    assert told["faces"] == 2
    assert told["faces_found"] >= found
    assert told["faces_false"] <= false


def test_a_picture_without_people_has_no_face(detector):
    brick = np.repeat(data.brick()[..., None], 3, -1)
    assert not [f for f in detector.detect([brick])[0] if f[0] == "face"]


def test_a_picture_in_a_batch_is_found_as_it_is_alone(detector, astronaut):
    wide = np.asarray(data.coffee(), dtype=np.uint8)
    together = detector.detect([astronaut, wide, astronaut[::2, ::2]])
    for picture, found in zip([astronaut, wide, astronaut[::2, ::2]], together, strict=True):
        alone = detector.detect([picture])[0]
        assert [f[0] for f in found] == [f[0] for f in alone]
        for ours, theirs in zip(found, alone, strict=True):
            assert ours[1] == pytest.approx(theirs[1], abs=0.5)
            assert ours[2] == pytest.approx(theirs[2], abs=0.01)


def test_boxes_are_inside_the_picture_and_best_come_first(detector, astronaut):
    found = detector.detect([cv2.resize(astronaut, (900, 500))])[0]
    assert [f[2] for f in found] == sorted((f[2] for f in found), reverse=True)
    for _, (x0, y0, x1, y1), score, _ in found:
        assert 0 <= x0 < x1 <= 900
        assert 0 <= y0 < y1 <= 500
        assert 0 < score <= 1


def test_no_pictures_give_no_answers(detector):
    assert detector.detect([]) == []


def test_the_revision_names_the_bytes_of_the_weights(detector, tmp_path):
    assert YoloDetector().revision == detector.revision
    for suffix in (".safetensors", ".json"):
        shutil.copy(mini_weights().with_suffix(suffix), tmp_path / f"other{suffix}")
    assert YoloDetector(tmp_path / "other.safetensors").revision == detector.revision.replace(
        "detector-", "other-"
    )
    changed = tmp_path / "other.json"
    changed.write_text(changed.read_text() + "\n")
    assert YoloDetector(tmp_path / "other.safetensors").revision.split("-")[-1] not in (
        detector.revision
    )


def test_weights_that_are_not_there_are_named_with_the_folder_and_a_way_out(tmp_path):
    with pytest.raises(WeightsMissing) as raised:
        YoloDetector(tmp_path / "yolo11n-face.pt")
    said = str(raised.value)
    assert "yolo11n-face" in said
    assert str(tmp_path) in said
    assert "profile mini" in said


def test_weights_of_another_architecture_are_refused(tmp_path):
    shutil.copy(mini_weights(), tmp_path / "d.safetensors")
    described = mini_weights().with_suffix(".json").read_text().replace('"nc": 5', '"nc": 7')
    (tmp_path / "d.json").write_text(described)
    with pytest.raises(UsageError, match="does not fit"):
        YoloDetector(tmp_path / "d.safetensors")


def test_the_standard_profile_joins_face_weights_and_object_weights(tmp_path, astronaut):
    save_detector(tmp_path / "faces.pt", ["face"])
    save_detector(tmp_path / "things.pt", ["person", "cup"])
    settings = load_settings(
        profile="standard",
        weights_dir=tmp_path,
        detector_weights=("faces.pt", "things.pt"),
        device="cpu",
    )
    assert load_detector(settings).revision.count("+") == 1
    both = YoloDetector([tmp_path / "faces.pt", tmp_path / "things.pt"], confidence=1e-6, imgsz=64)
    kinds = {(kind, label) for kind, _, _, label in both.detect([astronaut])[0]}
    assert ("face", None) in kinds
    assert kinds & {("object", "person"), ("object", "cup")}


def test_ultralytics_prints_nothing_asks_no_network_and_leaves_the_home_alone(tmp_path):
    program = (
        "import socket, numpy as np\n"
        "def refused(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refused\n"
        "from telltale.models.yolo import YoloDetector\n"
        "YoloDetector().detect([np.zeros((64, 64, 3), np.uint8)])\n"
    )
    environment = os.environ | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment.pop("YOLO_CONFIG_DIR", None)
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert not list(tmp_path.rglob("*ltralytics*"))


def test_a_process_leaves_no_settings_of_ultralytics_behind():
    told = "from telltale.models.yolo import quiet_ultralytics as q; q(); import os; print(os.environ['YOLO_CONFIG_DIR'])"
    env = {k: v for k, v in os.environ.items() if k != "YOLO_CONFIG_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=env, capture_output=True, text=True, check=True
    )
    assert "telltale-yolo-" in done.stdout
    assert not Path(done.stdout.strip()).exists()
