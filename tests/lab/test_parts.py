"""``lab evaluate --part``: one model by itself, on people that training never saw."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from telltale.commands.lab import lab
from telltale.errors import UsageError
from telltale.lab.cutouts import held_out
from telltale.lab.measure_detector import TURNS
from telltale.lab.parts import PARTS
from telltale.lab.people import PEOPLE

FIGURE = {"value", "low", "high"}


@pytest.fixture
def two(faces, tmp_path):
    """The portrait under two names: of a person trained on, and of one who was not."""
    stranger = next(n for n in map("q{}".format, range(99)) if held_out(n))
    for path in faces.iterdir():
        shutil.copy(path, tmp_path / path.name)
        shutil.copy(path, tmp_path / f"{stranger}_{path.name.split('_', 1)[1]}")
    (tmp_path / PEOPLE).write_text(f"face_id,face_gender,face_eth\n{stranger},female,white\n")
    return tmp_path


@pytest.mark.parametrize(
    ("part", "of"),
    [
        ("detector", lambda said: said["average_precision"]["face"]),
        ("encoder", lambda said: said["plain"]["auroc_trained"]),
    ],
)
def test_a_model_has_its_figures_with_intervals(part, of, two):
    command = ["evaluate", "--part", part, "--faces", str(two), "--limit", "1"]
    done = CliRunner().invoke(lab, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert set(of(json.loads(done.stdout))) >= FIGURE


def test_a_detector_is_measured_without_groups_and_written_where_asked(two, tmp_path):
    (two / PEOPLE).unlink()
    out = tmp_path / "out"
    command = ["evaluate", "--part", "detector", "--faces", str(two), "--limit", "1"]
    done = CliRunner().invoke(lab, [*command, "--out", str(out), "--json"], catch_exceptions=False)
    said = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert set(said["missed"]) == {"everyone"}
    assert len(said["turned"]) == len(TURNS)
    assert all(set(figure) >= FIGURE for figure in said["turned"].values())
    ap = said["average_precision"]
    parts = [ap[part]["value"] for part in ("eye", "nose", "mouth", "ear")]
    assert ap["mean_of_parts"]["value"] == pytest.approx(sum(parts) / 4, nan_ok=True)
    assert json.loads((out / "evaluation.json").read_text()) == said
    assert "average_precision: face" in (out / "evaluation.csv").read_text()


@pytest.mark.parametrize("other", [["--outside"], ["--without", "cues"], ["--bench", "."]])
def test_a_part_by_itself_has_no_bench_and_none_of_its_options(other, tmp_path):
    command = ["evaluate", "--part", "detector", "--faces", str(tmp_path), *other]
    done = CliRunner().invoke(lab, command)
    assert isinstance(done.exception, UsageError)
    assert "by itself" in str(done.exception)


@pytest.mark.parametrize("part", PARTS)
def test_what_cannot_be_measured_on_is_named(part, tmp_path):
    for given, named in ((["--faces", str(tmp_path)], str(tmp_path)), ([], "--faces")):
        done = CliRunner().invoke(lab, ["evaluate", "--part", part, *given])
        assert isinstance(done.exception, UsageError)
        assert named in str(done.exception)
