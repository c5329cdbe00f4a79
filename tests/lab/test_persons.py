"""Whose a photograph is: what a folder's names say, and what is said where they cannot."""

from __future__ import annotations

import shutil

import pytest

from telltale.errors import UsageError
from telltale.lab.bench import build
from telltale.lab.persons import people_of


def _people(tmp_path, *names, listed=None):
    found = people_of(tmp_path, [tmp_path / name for name in names], listed)
    return {p.relative_to(tmp_path).as_posix(): person for p, person in found.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("IMG_1001.jpg", "IMG_1002.jpg", "IMG_1003.jpg"),
        ("PXL_20260101_1.jpg", "DSC_0002.jpg", "photo_3.png"),
        ("holiday_1.jpg", "holiday_2.jpg"),
        ("DSC00001.jpg", "DSC00002.jpg", "000003.jpg"),
    ],
)
def test_where_names_only_count_each_photograph_is_of_a_person_of_its_own(names, tmp_path):
    assert set(_people(tmp_path, *names).values()) == {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("001_03.jpg", "001_08.jpg"), ("002_03.jpg", "002_08.jpg")),
        (("001_neutral.jpg", "001_smiling.jpg"), ("002_neutral.jpg", "002_smiling.jpg")),
        (("id0_0001.jpg", "id0_0002.jpg"), ("id1_0001.jpg",)),
        (("ann_1.jpg", "ann_2.jpg"), ("ben_1.jpg", "ben_2.jpg")),
    ],
)
def test_a_name_up_to_its_first_underscore_is_a_person(one, two, tmp_path):
    for folder in ("", "london/"):  # one subfolder says nothing of who is in it
        people = _people(tmp_path, *(folder + name for name in (*one, *two)))
        assert set(people.values()) == {one[0].split("_")[0], two[0].split("_")[0]}
        assert len({people[folder + name] for name in one}) == 1


def test_where_all_lie_in_folders_a_folder_is_a_person(tmp_path):
    people = _people(tmp_path, "Ann Lee/0001_01.jpg", "Ann Lee/0002_01.jpg", "Ann Poe/0001_01.jpg")
    assert list(people.values()) == ["Ann Lee", "Ann Lee", "Ann Poe"]
    mixed = _people(tmp_path, "ann_1.jpg", "old/ann_2.jpg", "old/ben_1.jpg")
    assert list(mixed.values()) == ["ann", "ann", "ben"]


def test_a_list_says_who_is_who_and_must_say_it_of_all(tmp_path):
    listed = tmp_path / "who.csv"
    listed.write_text("file,person\nIMG_1.jpg,ann\nsub/IMG_2.jpg,ann\nIMG_3.jpg,ben\n")
    names = ("IMG_1.jpg", "sub/IMG_2.jpg", "sub/IMG_3.jpg")
    assert list(_people(tmp_path, *names, listed=listed).values()) == ["ann", "ann", "ben"]
    with pytest.raises(UsageError, match=r"who is in IMG_4\.jpg \(and 0 more\)"):
        _people(tmp_path, *names, "IMG_4.jpg", listed=listed)
    listed.write_text("name,who\nIMG_1.jpg,ann\n")
    with pytest.raises(UsageError, match="file,person"):
        _people(tmp_path, *names, listed=listed)
    with pytest.raises(UsageError, match="no such file"):
        _people(tmp_path, *names, listed=tmp_path / "none.csv")


def test_a_bench_of_one_person_says_why_nothing_is_pasted_and_of_two_pastes(faces, tmp_path):
    """From the same portrait under two names: of nobody told apart, of two people, of one."""
    for photograph in faces.iterdir():
        end = photograph.name.partition(".")[2]
        for number in (1, 2):
            shutil.copy(photograph, tmp_path / f"IMG_{number}.{end}")
    listed = tmp_path / "who.csv"
    listed.write_text("file,person\nIMG_1.jpg,ann\nIMG_2.jpg,ann\n")

    def built(**more):
        said = []
        rows = build(tmp_path, tmp_path / "out", say=said.append, kinds=("pasted_eye",), **more)
        shutil.rmtree(tmp_path / "out")
        return {r["person"] for r in rows}, said

    people, said = built()
    assert people == {"IMG_1", "IMG_2"}
    assert any(line.startswith("2 photographs of 2 people (") for line in said)
    people, said = built(listed=listed)
    assert not people
    assert any("another person" in line and "--people" in line for line in said)
