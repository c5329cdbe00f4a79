"""Material for a training: a drawing that was cut off goes on, whole shards only, with word of each."""

from __future__ import annotations

import numpy as np
import pytest
from tests.lab.numbered_pieces import pieces

from telltale.lab import crop_cache, judge_pictures, sharing, train_encoder, train_judge

TWINS = 8


def _crops(faces, folder, told=sharing.silent, shards=3):
    crop_cache.build(faces, folder, 1, range(shards), TWINS, told)


def _pictures(faces, folder, told=sharing.silent, shards=3):
    judge_pictures.make(faces, folder, 1, shards, measuring=False, told=told)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Here, where a spawned process would draw as many as it always does, and two are too few to tell."""
    monkeypatch.setattr(judge_pictures, "PER_SHARD", 3)
    monkeypatch.setattr(sharing.os, "sched_getaffinity", lambda _: {0})


@pytest.mark.parametrize("draw", [_crops, _pictures])
def test_a_drawing_that_was_cut_off_goes_on_and_tells_of_each_shard(draw, faces, tmp_path):
    heard = []
    draw(faces, tmp_path / "whole")
    whole = {p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()}
    draw(faces, tmp_path / "cut", shards=1)
    draw(faces, tmp_path / "cut", told=lambda *word: heard.append(word))
    assert {p.name: p.read_bytes() for p in (tmp_path / "cut").iterdir()} == whole
    assert heard == [("cut", n, 3) for n in (1, 2, 3)]
    draw(faces, tmp_path / "cut", told=lambda *word: heard.append(word))
    assert len(heard) == 3  # nothing was left to draw


def test_a_shard_is_there_whole_or_not_at_all(faces, tmp_path, monkeypatch):
    _crops(faces, tmp_path, shards=1)
    whole = (tmp_path / "0000.npz").read_bytes()
    (tmp_path / "0000.npz").unlink()

    def killed(file, **arrays):
        file.write(b"half of a ")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            _crops(faces, tmp_path, shards=1)
    assert not len(crop_cache.Cache(tmp_path))
    _crops(faces, tmp_path, shards=1)
    assert (tmp_path / "0000.npz").read_bytes() == whole
    assert len(crop_cache.Cache(tmp_path))


def test_trainings_go_on_with_all_their_material(faces, tmp_path):
    """Cut off after the first of three shards, or asked for more than were drawn before."""
    begun = {"seed": 1, "minutes": 0.0}
    for shards in (1, 3):
        train_encoder.train(faces, tmp_path / "e", **begun, shards=shards, twins=TWINS)
        train_judge.train(faces, tmp_path / "j", **begun, shards=shards, most_crops=0)
    assert len(list((tmp_path / "e" / "cache").glob("*.npz"))) == 3
    assert len(list((tmp_path / "j" / "pictures").glob("*.npz"))) == 3


@pytest.mark.parametrize("cores", [{0}, {0, 1}])
def test_every_piece_is_made_and_told_of_on_however_many_cores(cores, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing.os, "sched_getaffinity", lambda _: cores)
    made = []
    sharing.side_by_side(pieces, range(5), tmp_path, made=lambda: made.append(1))
    assert len(made) == len(list(tmp_path.iterdir())) == 5
    sharing.side_by_side(pieces, [], tmp_path)
    with pytest.raises(ValueError, match="piece 6"):
        sharing.side_by_side(pieces, [6, 7], tmp_path, 6)
