"""Policy and calibration: readable, reloadable, and named in one sentence when they cannot be used."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from tests.stages.toy import calibration

from telltale.errors import UsageError
from telltale.policy import PolicyFile
from telltale.policy.calibration import ClaimFit, load_calibration


@pytest.fixture
def written(tmp_path):
    """A function that writes the shipped policy with changes and returns its path."""
    shipped = json.loads(PolicyFile().current().model_dump_json())

    def write(**changes):
        path = tmp_path / "policy.yaml"
        path.write_text(yaml.safe_dump({**shipped, **changes}))
        return path

    return write


def test_the_version_follows_the_content(written) -> None:
    before = PolicyFile(written()).current()
    assert before.version == PolicyFile().current().version
    assert PolicyFile(written(max_faces=3)).current().version != before.version


def test_a_changed_file_is_reread_and_a_broken_one_keeps_the_last_good(written) -> None:
    path = written()
    policy = PolicyFile(path)
    policy.current()
    written(max_faces=2)
    assert policy.current().max_faces == 2
    path.write_text("max_faces: [")
    os.utime(path, ns=(1, 1))
    assert policy.current().max_faces == 2
    assert policy.problem
    assert str(path) in policy.problem


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"manipulated_from": 1.5}, "manipulated_from"),
        ({"authentic_below": 0.9}, "authentic_below"),
        ({"near_duplicates": "drop"}, "near_duplicates"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_policy_that_cannot_be_names_file_and_field(written, change, names) -> None:
    path = written(**change)
    with pytest.raises(UsageError, match=names) as error:
        PolicyFile(path)
    assert str(path) in str(error.value)


def test_no_calibration_is_none_and_a_broken_one_is_named(tmp_path) -> None:
    path = tmp_path / "calibration.json"
    assert load_calibration(path) is None
    path.write_text('{"encoder": 1}')
    with pytest.raises(UsageError, match="lab calibrate"):
        load_calibration(path)
    path.write_text(calibration(["a.b"]).model_dump_json())
    assert load_calibration(path) == calibration(["a.b"])


def test_conformal_sets_decide_only_what_lies_outside_one_of_them() -> None:
    fitted = calibration(["a.b"])
    assert fitted.decide("a.b", "colour", 2.0, "artifact") == "supported"
    assert fitted.decide("a.b", "colour", -2.0, "artifact") == "contradicted"
    assert fitted.decide("a.b", "colour", 0.0, "artifact") == "undecidable"
    assert fitted.decide("a.b", "colour", -2.0, "natural") == "supported"
    assert fitted.decide("a.b", "colour", None, "artifact") == "undecidable"


def test_what_is_not_known_has_probability_one_half() -> None:
    assert calibration(["a.b"]).probability("a.b", "colour", None) == 0.5
    assert calibration(["a.b"]).z("c.d", 1.0) is None


def test_a_cue_with_a_fit_of_its_own_does_not_go_by_its_family() -> None:
    family = calibration(["a.b"])
    own = ClaimFit(slope=3.0, intercept=-1.0, natural_max=0.5, artifact_min=0.5)
    cues = {"a.b": family.cues["a.b"].model_copy(update={"fit": own})}
    fitted = calibration(["a.b"], cues=cues)
    assert family.probability("a.b", "colour", 1.0) < fitted.probability("a.b", "colour", 1.0)
    assert family.decide("a.b", "colour", 0.9, "artifact") == "undecidable"
    assert fitted.decide("a.b", "colour", 0.9, "artifact") == "supported"
