"""Every layout gives the same kind of sample, on small folders of the published shape."""

import json

import cv2
import numpy as np
import pytest

from telltale.errors import UsageError
from telltale.lab.datasets import EXPECTED, FRAMES_PER_VIDEO, load


def _picture(path, level=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((16, 16, 3), level, np.uint8))


def _video(path, frames=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 64))
    for n in range(frames):
        video.write(np.full((64, 64, 3), 10 * n, np.uint8))
    video.release()


def _facts(samples):
    return {s.name: (s.label, s.kind, s.person, s.split) for s in samples}


def test_faceforensics_frames_and_videos(tmp_path):
    _picture(tmp_path / "original_sequences/youtube/c23/images/033/0000.png")
    _picture(tmp_path / "manipulated_sequences/Deepfakes/c23/images/033_097/0000.png")
    _picture(tmp_path / "manipulated_sequences/Deepfakes/masks/images/033_097/0000.png")
    _video(tmp_path / "manipulated_sequences/FaceSwap/c23/videos/097_033.mp4")
    (tmp_path / "test.json").write_text(json.dumps([["033", "097"]]))
    samples = load("faceforensics", tmp_path)
    facts = _facts(samples)
    assert facts["original_sequences/youtube/c23/images/033/0000.png"] == (0, None, "033", "test")
    assert facts["manipulated_sequences/Deepfakes/c23/images/033_097/0000.png"] == (
        1, "Deepfakes", "033", "test",
    )  # fmt: skip
    frames = [s for s in samples if s.kind == "FaceSwap"]
    assert len(frames) == FRAMES_PER_VIDEO
    assert {s.person for s in frames} == {"097"}
    assert len(samples) == FRAMES_PER_VIDEO + 2, "masks are no pictures to judge"


def test_a_frame_of_a_video_is_the_frame_it_says(tmp_path):
    _video(tmp_path / "Celeb-real/id0_0000.mp4")
    for sample in load("celeb-df", tmp_path):
        pixels = cv2.imdecode(np.frombuffer(sample.read(), np.uint8), cv2.IMREAD_COLOR)
        assert pixels.mean() == pytest.approx(10 * sample.frame, abs=6)


def test_celeb_df_with_its_list_of_tests(tmp_path):
    _video(tmp_path / "Celeb-real/id0_0001.mp4", 3)
    _picture(tmp_path / "YouTube-real/00170/000.png")
    _picture(tmp_path / "Celeb-synthesis/id0_id1_0002/000.png")
    (tmp_path / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0002.mp4\n"
    )
    facts = _facts(load("celeb-df", tmp_path))
    assert facts["Celeb-real/id0_0001.mp4#0"] == (0, None, "id0", "train")
    assert facts["YouTube-real/00170/000.png"] == (0, None, "00170", "test")
    assert facts["Celeb-synthesis/id0_id1_0002/000.png"] == (1, "celeb-synthesis", "id0", "test")


def test_df40_by_method(tmp_path):
    _picture(tmp_path / "simswap/ff/frames/012_026/000.png")
    _picture(tmp_path / "MidJourney/fake/7.png")
    _picture(tmp_path / "MidJourney/real/9.png")
    facts = _facts(load("df40", tmp_path))
    assert facts["simswap/ff/frames/012_026/000.png"] == (1, "simswap", "012_026", None)
    assert facts["MidJourney/fake/7.png"][:2] == (1, "MidJourney")
    assert facts["MidJourney/real/9.png"][:2] == (0, None)


def test_genimage_with_and_without_its_inner_folder(tmp_path):
    _picture(tmp_path / "ADM/imagenet_ai_0508_adm/train/ai/a.png")
    _picture(tmp_path / "BigGAN/val/nature/b.png")
    facts = _facts(load("genimage", tmp_path))
    assert facts["ADM/imagenet_ai_0508_adm/train/ai/a.png"] == (1, "ADM", None, "train")
    assert facts["BigGAN/val/nature/b.png"] == (0, None, None, "val")


def test_a_csv_manifest_with_all_its_columns(tmp_path):
    _picture(tmp_path / "a.png")
    _picture(tmp_path / "b.png")
    _picture(tmp_path / "m.png", 255)
    (tmp_path / "manifest.csv").write_text(
        "path,label,kind,strength,cue_id,person,split,mask\n"
        "a.png,real,,,,p1,test,\nb.png,1,glyphs,0.5,text.scrambled,p1,test,m.png\n"
    )
    real, fake = load("csv", tmp_path)
    assert (real.label, real.kind, real.mask, real.read_mask()) == (0, None, None, None)
    assert (fake.label, fake.kind, fake.strength) == (1, "glyphs", 0.5)
    assert (fake.cue_id, fake.person, fake.split) == ("text.scrambled", "p1", "test")
    assert fake.read() == (tmp_path / "b.png").read_bytes()
    assert fake.read_mask().tolist() == np.ones((16, 16)).tolist()


@pytest.mark.parametrize("row", ["a.png,maybe", ",1", "gone.png,1"])
def test_a_bad_csv_line_is_named(tmp_path, row):
    _picture(tmp_path / "a.png")
    (tmp_path / "manifest.csv").write_text(f"path,label\na.png,0\n{row}\n")
    with pytest.raises(UsageError, match=r"manifest\.csv, line 3"):
        load("csv", tmp_path)


def test_a_bench_whose_manifest_is_damaged_is_named(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"file": "a.jpg"}\n')
    with pytest.raises(UsageError, match=r"manifest\.jsonl, line 1"):
        load("bench", tmp_path)


@pytest.mark.parametrize("layout", EXPECTED)
def test_an_empty_folder_is_told_what_was_expected(layout, tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError) as told:
            load(layout, folder)
        assert str(folder) in str(told.value)
        assert EXPECTED[layout] in str(told.value)


def test_an_unknown_layout_is_told_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="faceforensics"):
        load("imagenet", tmp_path)


def test_a_broken_video_is_named(tmp_path):
    path = tmp_path / "Celeb-real/id1_0000.mp4"
    path.parent.mkdir()
    path.write_bytes(b"no video")
    with pytest.raises(UsageError, match=r"id1_0000\.mp4"):
        load("celeb-df", tmp_path)
