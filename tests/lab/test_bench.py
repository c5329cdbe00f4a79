"""The bench, built from public-domain faces (scikit-image's astronaut and its mirror image)."""

import hashlib
import json
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from telltale.errors import UsageError
from telltale.lab.bench import (
    MANIFEST,
    build,
    contact_sheet,
    draw,
    recompressed,
    shortcut_rows,
    split_of,
    subjects,
)
from telltale.lab.cutouts import held_out
from telltale.lab.datasets import load
from telltale.lab.edits import EDITS, STRENGTHS
from telltale.lab.sheet import _around_mask

BOXES = [
    ("face", (176, 86, 274, 183)),
    ("eye", (189, 94, 215, 108)),
    ("eye", (233, 96, 262, 111)),
    ("nose", (208, 95, 242, 137)),
    ("mouth", (199, 136, 249, 157)),
    ("ear", (168, 108, 183, 132)),
    ("ear", (268, 115, 282, 138)),
]


def find(pixels):
    """A detector that knows these photographs: the mirrored one is told by its corner."""
    size = pixels.shape[1]
    scale = size / 512
    mirrored = bool(pixels[0, 0].sum() < pixels[0, -1].sum())
    found = []
    for kind, (x0, y0, x1, y1) in BOXES:
        x0, x1 = (512 - x1, 512 - x0) if mirrored else (x0, x1)
        found.append((kind, (x0 * scale, y0 * scale, x1 * scale, y1 * scale), 0.9, None))
    return found


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Three photographs of two "people"."""
    folder = tmp_path_factory.mktemp("faces")
    pixels = data.astronaut()
    pixels = cv2.resize(pixels, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    for name, picture in (("ann_1", pixels), ("ann_2", pixels), ("ben_1", pixels[:, ::-1])):
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def bench(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    said = []
    rows = build(faces, out, seed=5, find=find, say=said.append, every_strength=False)
    return out, rows, said


def _digest(folder):
    sha = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sha.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return sha.hexdigest()


def test_the_same_seed_builds_the_same_bytes(faces, tmp_path):
    kinds = ("iris_warp", "glyphs", "pasted_nose", "self_blend")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build(faces, tmp_path / name, seed, find, kinds=kinds, every_strength=False)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    assert _digest(tmp_path / "a") != _digest(tmp_path / "c")


def test_a_pair_set_elsewhere_keeps_its_frame_its_edit_and_its_person(faces, tmp_path):
    kinds = ("self_blend", "waxy_skin")
    for name, share in (("studio", 0.0), ("elsewhere", 1.0), ("again", 1.0)):
        build(faces, tmp_path / name, 1, find, kinds=kinds, every_strength=False, elsewhere=share)
    assert _digest(tmp_path / "elsewhere") == _digest(tmp_path / "again")
    rows = [
        [json.loads(line) for line in (tmp_path / name / MANIFEST).read_text().splitlines()]
        for name in ("studio", "elsewhere")
    ]
    for here, there in zip(*rows, strict=True):
        assert "elsewhere" not in here
        assert there["elsewhere"]
        one, two = (
            cv2.imread(str(tmp_path / name / here["file"]), cv2.IMREAD_GRAYSCALE)
            for name in ("studio", "elsewhere")
        )
        assert one.shape == two.shape
        assert not np.array_equal(one, two)
        box = next(r["box_px"] for r in here["regions"] if r["type"] == "nose")
        x0, y0, x1, y1 = (int(v) for v in box)
        alike = np.corrcoef(one[y0:y1, x0:x1].ravel(), two[y0:y1, x0:x1].ravel())[0, 1]
        assert alike > 0.8


def test_every_kind_is_planted_and_known_by_its_cue(bench):
    _, rows, said = bench
    planted = {r["kind"]: r["cue_id"] for r in rows if r["label"] == 1}
    assert planted == {e.kind: e.cue_id for e in EDITS.values()}
    assert any("3 of 3 photographs" in line for line in said)


def test_three_photographs_show_each_kind_at_each_strength(bench):
    _, rows, _ = bench
    seen = Counter((r["kind"], r["strength"]) for r in rows if r["label"] == 1)
    whole = [k for k in EDITS if sum(seen[k, s] for s in STRENGTHS) == 3]
    assert len(whole) >= 14
    assert all(seen[k, s] == 1 for k in whole for s in STRENGTHS)


def test_few_photographs_get_every_strength_each(faces, tmp_path):
    rows = build(faces, tmp_path, 0, find, kinds=("lattice",))
    assert Counter(r["strength"] for r in rows if r["label"]) == dict.fromkeys(STRENGTHS, 3)


def test_real_and_edited_come_in_pairs_degraded_alike(bench):
    out, rows, _ = bench
    for real, edited in zip(rows[::2], rows[1::2], strict=True):
        assert (real["label"], edited["label"]) == (0, 1)
        assert real["pair"] == edited["pair"]
        assert real["degradation"] == edited["degradation"]
        assert real["regions"] == edited["regions"]
        assert (real["cue_id"], real["mask"], real["strength"]) == (None, None, None)
        first, second = Image.open(out / real["file"]), Image.open(out / edited["file"])
        assert first.size == second.size == Image.open(out / edited["mask"]).size
        assert first.quantization == second.quantization


def test_twins_differ_where_the_mask_says_and_nowhere_else(faces):
    people = subjects(faces, find)
    for kind in EDITS:
        pair = draw(people[0], kind, 1.0, 3, people)
        changed = (pair.twins.real != pair.twins.edited).any(axis=2)
        near = cv2.dilate((pair.twins.mask > 0).astype(np.uint8), np.ones((11, 11), np.uint8))
        assert changed.any(), kind
        assert not changed[near == 0].any(), kind


def test_regions_lie_on_the_face_of_the_framed_picture(bench):
    out, rows, _ = bench
    for row in rows:
        width, height = Image.open(out / row["file"]).size
        by_type = {r["type"]: r["box_px"] for r in row["regions"]}
        assert {"face", "eye", "nose", "mouth", "image"} <= set(by_type)
        assert by_type["image"] == [0.0, 0.0, width, height]
        face, nose = by_type["face"], by_type["nose"]
        assert face[0] < nose[0] < nose[2] < face[2]
        assert ("object" in by_type) == (row["kind"] == "glyphs")


def test_the_manifest_names_files_as_they_are(bench):
    out, rows, _ = bench
    lines = (out / MANIFEST).read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    for row in rows:
        assert hashlib.sha256((out / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    assert {r["person"] for r in rows} == {"ann", "ben"}
    assert all(r["landmarks_from"] == "detector" for r in rows)


def test_a_bench_loads_as_samples(bench):
    out, rows, _ = bench
    samples = load("bench", out)
    assert [(s.name, s.label) for s in samples] == [(r["file"], r["label"]) for r in rows]
    edited = [s for s in samples if s.label]
    assert all(s.read_mask().max() > 0.2 for s in edited)
    assert all(s.kind in EDITS and s.cue_id and s.strength for s in edited)
    assert all(s.kind is None and s.read_mask() is None for s in samples if not s.label)


def test_people_are_never_split_and_never_tested_on_when_trained_on():
    people = [f"{n:03d}" for n in range(500)]
    shares = Counter(split_of(p) for p in people)
    assert set(shares) == {"train", "val", "test"}
    assert all(split_of(p) == "train" or held_out(p) for p in people)
    assert all(split_of(p) != "train" for p in people if held_out(p))


def test_a_pasted_feature_comes_from_somebody_else(faces, tmp_path):
    (tmp_path / "ann_1.png").write_bytes((faces / "ann_1.png").read_bytes())
    said = []
    rows = build(tmp_path, tmp_path / "out", 0, find, said.append, kinds=("pasted_eye", "lattice"))
    assert {r["kind"] for r in rows} == {"lattice"}, "one person alone has no donor"
    assert any(line.startswith("pasted_eye: 3 pairs left out") for line in said)


def test_a_folder_without_faces_is_told_what_is_missing(tmp_path, faces):
    with pytest.raises(UsageError, match=r"landmarks\.json") as told:
        build(faces, tmp_path / "out", 0)
    assert str(faces) in str(told.value)
    with pytest.raises(UsageError, match="0 pictures"):
        build(tmp_path, tmp_path / "out", 0, find)
    with pytest.raises(UsageError):
        build(faces, tmp_path / "out", 0, lambda pixels: [])


def test_shortcut_checks_pair_a_picture_with_itself(bench):
    out, rows, _ = bench
    checks = list(shortcut_rows(rows, seed=4))
    again = Counter((file, label) for check, file, label in checks if check == "recompressed")
    reals = [r["file"] for r in rows if r["label"] == 0]
    assert again == Counter({(f, label): 1 for f in reals for label in (0, 1)})
    random = [label for check, _, label in checks if check == "random labels"]
    assert len(random) == len(rows)
    assert 0.3 < np.mean(random) < 0.7
    before = (out / reals[0]).read_bytes()
    after = recompressed(before, 1)
    assert after == recompressed(before, 1)
    assert after != before


def test_the_contact_sheet_shows_one_iris_from_near_by(faces):
    people = subjects(faces, find)
    for kind in ("iris_warp", "waxy_skin"):
        pair = draw(people[0], kind, 1.0, 0, people)
        y0, y1, x0, x1 = _around_mask(pair)
        left, right = (r for r in pair.regions if r.type == "eye")
        apart = right.box_px[0] - left.box_px[0]
        assert (x1 - x0 < 0.9 * apart) == (kind == "iris_warp")
        inside = pair.twins.mask[y0:y1, x0:x1] > 0
        assert inside.any()


def test_the_contact_sheet_shows_every_kind(faces):
    sheet = cv2.imdecode(np.frombuffer(contact_sheet(faces, 0, find), np.uint8), cv2.IMREAD_COLOR)
    rows = (len(EDITS) + 1) // 2
    assert sheet.shape[0] % rows == 0
    tiles = np.split(sheet[: sheet.shape[0]], rows, axis=0)
    half = sheet.shape[1] // 2
    shown = [row[:, at : at + half] for at in (0, half) for row in tiles][: len(EDITS)]
    side = half // 4
    for row in shown:
        untouched, plain = row[-side:, :side], row[-side:, 3 * side :]
        assert not np.array_equal(untouched, plain)
