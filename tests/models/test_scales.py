"""Findings at two sizes are one list: each face once, its parts with it."""

from __future__ import annotations

from telltale.models import Found
from telltale.models.scales import merged

LARGE: Found = ("face", (100.0, 100.0, 400.0, 420.0), 0.7, None)
LARGE_TOO_SMALL: Found = ("face", (115.0, 110.0, 385.0, 390.0), 0.9, None)
SMALL: Found = ("face", (500.0, 100.0, 550.0, 150.0), 0.8, None)
EYE: Found = ("eye", (150.0, 180.0, 220.0, 210.0), 0.6, None)
EYE_OF_FINE: Found = ("eye", (160.0, 182.0, 210.0, 205.0), 0.9, None)
SMALL_EYE: Found = ("eye", (510.0, 112.0, 522.0, 118.0), 0.5, None)


def test_a_large_face_and_its_parts_are_those_of_the_smaller_picture() -> None:
    fine = [LARGE_TOO_SMALL, EYE_OF_FINE, SMALL, SMALL_EYE]
    assert set(merged(fine, [LARGE, EYE], 160)) == {LARGE, EYE, SMALL, SMALL_EYE}


def test_a_small_thing_that_only_the_smaller_picture_takes_for_a_face_is_none() -> None:
    assert merged([], [SMALL, SMALL_EYE], 160) == []


def test_a_large_face_that_only_the_larger_picture_shows_is_kept_with_its_parts() -> None:
    fine = [LARGE_TOO_SMALL, EYE_OF_FINE]
    assert merged(fine, [EYE], 160) == fine


def test_a_face_near_the_border_is_found_once_as_the_surer_has_it() -> None:
    sure: Found = ("face", (0.0, 0.0, 150.0, 165.0), 0.8, None)
    less: Found = ("face", (2.0, 0.0, 150.0, 158.0), 0.6, None)
    assert merged([less], [sure], 160) == [sure]
    assert merged([sure], [less], 160) == [sure]


def test_objects_are_those_of_the_larger_picture_wherever_they_lie() -> None:
    in_hand: Found = ("object", (200.0, 300.0, 260.0, 380.0), 0.5, "cup")
    again: Found = ("object", (198.0, 298.0, 262.0, 384.0), 0.5, "cup")
    assert set(merged([in_hand], [LARGE, again], 160)) == {LARGE, in_hand}
