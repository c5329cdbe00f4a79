"""Regions: parts belong to their face, numbering is stable, crops stay inside the picture."""

from __future__ import annotations

import numpy as np
import pytest

from telltale.regions import (
    CUE_REGIONS,
    WHERE,
    area_px,
    crop,
    parts_from_eyes,
    regions_for,
    regions_of,
)

FACE = ("face", (100.0, 100.0, 200.0, 240.0), 0.9, None)
EYES = [
    ("eye", (160.0, 140.0, 180.0, 150.0), 0.8, None),
    ("eye", (120.0, 140.0, 140.0, 150.0), 0.7, None),
]


def ids(regions) -> list[str]:
    return [r.region_id for r in regions]


def test_parts_are_numbered_from_the_left() -> None:
    found = {r.region_id: r.box_px for r in regions_of([FACE, *EYES], 400, 400)}
    assert found["0.eye.0"][0] < found["0.eye.1"][0]


def test_a_part_without_a_face_is_dropped() -> None:
    assert "eye" not in {
        r.type for r in regions_of([("eye", (0.0, 0.0, 9.0, 9.0), 0.9, None)], 400, 400)
    }


def test_the_largest_faces_come_first_and_the_rest_is_left() -> None:
    small = ("face", (300.0, 300.0, 330.0, 340.0), 0.99, None)
    found = regions_of([small, FACE], 400, 400, max_faces=1)
    assert [r.box_px for r in found if r.type == "face"] == [FACE[1]]


def test_every_picture_has_itself_as_a_region() -> None:
    assert ids(regions_of([], 40, 30)) == ["image"]


def test_regions_lie_inside_the_picture() -> None:
    edge = ("face", (-20.0, -20.0, 60.0, 80.0), 0.9, None)
    for region in regions_of([edge], 100, 100):
        x0, y0, x1, y1 = region.box_px
        assert 0 <= x0 < x1 <= 100
        assert 0 <= y0 < y1 <= 100


@pytest.mark.parametrize("cue_region", CUE_REGIONS)
def test_every_cue_region_has_places_to_look(cue_region) -> None:
    assert WHERE[cue_region]


def test_a_cue_is_looked_for_in_the_first_type_present() -> None:
    regions = regions_of([FACE, *EYES], 400, 400)
    assert [r.type for r in regions_for("eyes", regions)] == ["eye", "eye"]
    assert [r.type for r in regions_for("light", regions)] == ["face"]
    assert [r.type for r in regions_for("light", regions_of([], 40, 30))] == ["image"]


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 10.0, 10.0), (90.0, 90.0, 100.0, 100.0), (0.0, 0.0, 100.0, 100.0)]
)
def test_a_crop_is_square_and_shows_only_the_picture(box) -> None:
    pixels = np.full((100, 100, 3), 7, np.uint8)
    window = crop(pixels, box, 32, 1.6)
    assert window.shape == (32, 32, 3)
    assert (window == 7).all()


def test_a_box_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="no area"):
        crop(np.zeros((9, 9, 3), np.uint8), (5.0, 5.0, 5.0, 8.0), 8)


def test_a_box_turned_inside_out_has_no_area() -> None:
    assert area_px((5.0, 5.0, 1.0, 9.0)) == 0


def test_parts_that_were_not_found_are_placed_by_both_eyes() -> None:
    found = {r.region_id: r for r in regions_of([FACE, *EYES], 400, 400)}
    assert {"0.nose", "0.mouth", "0.ear.0", "0.ear.1"} <= found.keys()
    x0, y0, x1, y1 = found["0.mouth"].box_px
    assert (x0 + x1) / 2 == pytest.approx(150)
    assert 145 + 40 < (y0 + y1) / 2 < 240
    assert found["0.ear.0"].box_px[2] < 120 < 180 < found["0.ear.1"].box_px[0]
    assert found["0.mouth"].score == FACE[2]


def test_a_part_that_was_found_stays_where_it_is() -> None:
    mouth = ("mouth", (130.0, 200.0, 170.0, 220.0), 0.6, None)
    ear = ("ear", (200.0, 140.0, 215.0, 190.0), 0.4, None)
    found = {r.region_id: r for r in regions_of([FACE, *EYES, mouth, ear], 400, 400)}
    assert (found["0.mouth"].box_px, found["0.mouth"].score) == (mouth[1], 0.6)
    assert found["0.ear.1"].box_px == ear[1]
    assert found["0.ear.0"].box_px[2] < 120


def test_one_eye_places_nothing() -> None:
    assert "mouth" not in {r.type for r in regions_of([FACE, EYES[0]], 400, 400)}


def test_a_tilted_face_has_its_mouth_below_the_line_of_its_eyes() -> None:
    left, right = (100.0, 100.0, 120.0, 110.0), (100.0, 160.0, 120.0, 170.0)  # lying on its side
    ((x0, _, x1, _),) = parts_from_eyes(left, right)["mouth"]
    assert (x0 + x1) / 2 < 110 - 50
