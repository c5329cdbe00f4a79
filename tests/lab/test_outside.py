"""Faces in photographs nobody composed: found means found where the face is."""

from __future__ import annotations

import pytest

from telltale.lab import landmarks as marks
from telltale.lab.outside import OVERLAP, faces_outside, photographs, told_apart

FACE, OTHER = (100.0, 100.0, 140.0, 150.0), (300.0, 100.0, 340.0, 150.0)
WHEEL = (600.0, 500.0, 660.0, 560.0)


def _seen(*boxes):
    return [("face", box, 0.9 - n / 100, None) for n, box in enumerate(boxes)]


def _counts(found, missed, false):
    return {
        "faces": found + missed, "faces_found": found, "faces_missed": missed, "faces_false": false,
    }  # fmt: skip


def test_a_wheel_does_not_stand_for_a_face_that_was_missed():
    assert told_apart([FACE, OTHER], _seen(FACE, WHEEL)) == _counts(1, 1, 1)


def test_a_face_counts_once_however_often_it_is_reported():
    assert told_apart([FACE], _seen(FACE, FACE)) == _counts(1, 0, 1)


def test_parts_are_no_faces_and_nobody_has_none():
    eye = ("eye", FACE, 0.9, None)
    assert told_apart([FACE], [eye]) == _counts(0, 1, 0)
    assert told_apart([], _seen(WHEEL)) == _counts(0, 0, 1)


@pytest.mark.parametrize(("wider", "found"), [(2.2, 1), (2.8, 0)])
def test_a_box_must_overlap_the_drawn_one(wider, found):
    x0, y0, x1, y1 = FACE
    wide = (x0, y0, x0 + wider * (x1 - x0), y1)
    assert (1 / wider >= OVERLAP) == bool(found)
    assert told_apart([FACE], _seen(wide))["faces_found"] == found


def test_the_faces_drawn_lie_inside_their_photographs():
    for name, path, faces in photographs():
        height, width = marks.photograph(path).shape[:2]
        for x0, y0, x1, y1 in faces:
            assert 0 <= x0 < x1 <= width, name
            assert 0 <= y0 < y1 <= height, name


def test_the_sums_are_those_of_the_rows():
    class Blind:
        revision = "blind"

        def detect(self, pictures):
            return [_seen(WHEEL) for _ in pictures]

    told = faces_outside(Blind())
    assert told["photographs"] == len(told["rows"]) > 10
    assert told["faces"] == told["faces_missed"] == sum(len(f) for *_, f in photographs()) > 0
    assert told["faces_found"] == 0
    assert told["faces_false"] == len(told["rows"])
