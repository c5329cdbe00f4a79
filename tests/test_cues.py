"""The shipped cues hold together, lint sees every fault, and loading names what is at fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from telltale.cues import (
    DOCUMENTS_FILE,
    LANGUAGES,
    SIDES,
    Cue,
    CueError,
    Document,
    lint,
    load_cues,
    load_documents,
    sentences,
)
from telltale.regions import CUE_REGIONS

PLANTED = {
    "iris.irregular_outline", "eyes.highlights_disagree", "teeth.fused", "teeth.warped",
    "ear.malformed", "skin.waxy", "neck.colour_step", "hair.smeared_hairline",
    "light.inconsistent_direction", "compression.upsampling_lattice",
    "compression.local_mismatch", "text.scrambled", "background.bent_lines", "eyes.pasted",
    "lips.pasted", "nose.pasted", "jaw.blend_boundary",
}  # fmt: skip


def edited(cue: Cue, **changes: Any) -> Cue:
    """The cue with dotted fields (written ``a__b``) replaced, validated again."""
    data = cue.model_dump()
    for name, value in changes.items():
        *path, last = name.split("__")
        place = data
        for step in path:
            place = place[step]
        place[last] = value
    return Cue.model_validate(data)


def swapped(cue_id: str, /, **changes: Any) -> list[Cue]:
    return [edited(c, **changes) if c.cue_id == cue_id else c for c in load_cues()]


def fused() -> Cue:
    return next(c for c in load_cues() if c.cue_id == "teeth.fused")


def test_shipped_cues_pass_lint():
    assert lint(load_cues(), load_documents()) == []


def test_shipped_cues_are_about_ninety_over_all_regions_and_sorted():
    ids = [cue.cue_id for cue in load_cues()]
    assert ids == sorted(ids)
    assert len(ids) >= 90
    assert {cue.region for cue in load_cues()} == set(CUE_REGIONS)
    assert list(load_documents()) == sorted(load_documents())


def test_every_planted_edit_has_its_cue():
    assert {cue.cue_id for cue in load_cues()} >= PLANTED


def test_every_measurement_serves_some_cue():
    measured = {cue.measurement for cue in load_cues() if cue.verifier == "measure"}
    assert measured == {"pupil_roundness", "seam_colour_step", "blockiness", "spectrum_peak"}


def test_common_artifacts_outweigh_the_celebrated_ones():
    def weight(family: str) -> float:
        return mean(cue.weight for cue in load_cues() if cue.family == family)

    assert min(weight(f) for f in ("texture", "blur", "anatomy")) > weight("light")


def test_sentences_fit_the_short_context_of_a_text_tower():
    for cue in load_cues():
        for side in SIDES:
            assert all(len(s.split()) <= 14 for s in sentences(cue, side, "en")), cue.cue_id
            assert all(len(s) <= 40 for s in sentences(cue, side, "ko")), cue.cue_id


def test_sentences_begin_with_the_main_one():
    cue = fused()
    for language in LANGUAGES:
        found = sentences(cue, "natural", language)
        assert found[0] == getattr(cue.natural, language)
        assert found[1:] == getattr(cue.natural_paraphrases, language)


def test_a_cue_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        fused().weight = 1.0


FAULTS: dict[str, tuple[Callable[[], list[Cue]], str]] = {
    "two cues of one id": (
        lambda: [*load_cues(), edited(fused(), artifact__en="a", natural__en="b")],
        "teeth.fused: cue_id: used 2 times",
    ),
    "an id of another region": (
        lambda: swapped("teeth.fused", cue_id="lips.fused"),
        "lips.fused: cue_id: must begin with its region",
    ),
    "a region with one cue": (
        lambda: [c for c in load_cues() if c.region != "nose" or c.cue_id == "nose.pasted"],
        "nose: has 1 cues",
    ),
    "more paraphrases on one side": (
        lambda: swapped(
            "teeth.fused",
            natural_paraphrases__en=(*fused().natural_paraphrases.en, "gums frame each tooth"),
        ),
        "teeth.fused: paraphrases: numbers differ",
    ),
    "English where Korean belongs": (
        lambda: swapped("teeth.fused", natural__ko="teeth apart"),
        "teeth.fused: natural.ko: needs Hangul",
    ),
    "Korean where English belongs": (
        lambda: swapped("teeth.fused", keywords__en="뭉친 teeth"),
        "teeth.fused: keywords.en: must hold no Hangul",
    ),
    "English with a letter of Korean": (
        lambda: swapped("teeth.fused", natural__ko="every tooth stands apart 이"),
        "teeth.fused: natural.ko: needs Hangul",
    ),
    "Japanese where English belongs": (
        lambda: swapped("teeth.fused", natural__en="歯は一本ずつ分かれている"),
        "teeth.fused: natural.en: needs Latin letters",
    ),
    "Japanese where Korean belongs": (
        lambda: swapped("teeth.fused", natural__ko="歯は一本ずつ分かれている"),
        "teeth.fused: natural.ko: needs Hangul",
    ),
    "French where English belongs": (
        lambda: swapped("teeth.fused", natural__en="les dents sont bien distinctes"),
        "teeth.fused: natural.en: must be English",
    ),
    "a sentence used twice in one cue": (
        lambda: swapped("teeth.fused", natural__en="Single teeth can be told apart."),
        "teeth.fused: natural.en: repeats teeth.fused: natural.en",
    ),
    "a sentence of another cue": (
        lambda: swapped("teeth.warped", artifact__ko=fused().artifact.ko),
        "teeth.warped: artifact.ko: repeats teeth.fused: artifact.ko",
    ),
    "an artifact sentence with words added": (
        lambda: swapped("teeth.fused", natural__en=f"hardly ever {fused().artifact.en}"),
        "teeth.fused: natural.en: is an artifact sentence with words added",
    ),
    "a document nobody wrote down": (
        lambda: swapped("teeth.fused", documents=("nobody2020",)),
        "teeth.fused: documents: 'nobody2020' is in no",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lint_catches(fault):
    broken, expected = FAULTS[fault]
    assert any(line.startswith(expected) for line in lint(broken(), load_documents()))


@pytest.mark.parametrize(
    "changes",
    [
        {"natural__en": sentence}
        for sentence in (
            "there is no fusion here", "the teeth are not fused", "teeth without smearing",
            "the teeth never merge", "the mouth lacks a white band", "the teeth aren't joined",
            "the teeth cannot merge", "none of the teeth are fused", "nothing smears the teeth",
            "neither row of teeth is fused", "teeth free of any fused band",
            "teeth free from smearing", "teeth lacking a white band", "any fused band is absent",
        )
    ]
    + [
        {"natural__ko": sentence}
        for sentence in (
            "이가 뭉쳐 있지 않다", "이가 뭉친 데가 없다", "이가 안 뭉쳤다", "이가 뭉치지 못했다",
            "뭉친 이가 아니다", "이가 하나의 띠가 아닌 모습이다", "하나로 뭉친 이가 아님",
            "이는 하나의 띠가 아닙니다", "뭉친 데가 없는 이", "이가 뭉침 없이 서 있다",
        )
    ],
)  # fmt: skip
def test_lint_catches_a_natural_sentence_that_negates(changes):
    faults = lint(swapped("teeth.fused", **changes), load_documents())
    assert any("says what is seen by negation" in line for line in faults)


def test_lint_does_not_mistake_parts_of_words_for_negation():
    natural = {
        "natural__en": "a knot of notable teeth in free-flowing northern light",
        "natural__ko": "안경과 입 안쪽이 보인다",
    }
    assert lint(swapped("teeth.fused", **natural), load_documents()) == []


def test_lint_catches_a_document_that_supports_nothing():
    idle = load_documents()["matern2019"].model_copy(update={"doc_id": "idle2020"})
    assert lint(load_cues(), {**load_documents(), "idle2020": idle}) == [
        "idle2020: doc_id: no cue rests on it"
    ]


def write(folder: Path, name: str, rows: Any) -> None:
    text = rows if isinstance(rows, str) else yaml.safe_dump(rows, allow_unicode=True)
    (folder / name).write_text(text, encoding="utf-8")


def row(**changes: Any) -> dict[str, Any]:
    return {**fused().model_dump(mode="json", exclude_none=True), **changes}


def test_an_operators_folder_is_read_instead_of_the_shipped_one(tmp_path):
    doc = load_documents()["matern2019"]
    write(tmp_path, "mine.yaml", [row()])
    write(tmp_path, DOCUMENTS_FILE, [doc.model_dump()])
    assert load_cues(tmp_path) == (fused(),)
    assert load_documents(tmp_path) == {"matern2019": Document.model_validate(doc)}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"region": "tail"}, "region"),
        ({"artifact": {"en": "teeth are fused"}}, "artifact.ko"),
        ({"artifact_paraphrases": {"en": ["one"], "ko": ["하나"]}}, "artifact_paraphrases.en"),
        ({"verifier": "measure"}, "measurement"),
        ({"measurement": "blockiness"}, "measurement"),
        ({"weight": 1.5}, "weight"),
        ({"documents": []}, "documents"),
        ({"colour": "white"}, "colour"),
    ],
)
def test_loading_names_file_cue_and_field(tmp_path, changes, field):
    write(tmp_path, "mine.yaml", [row(**changes)])
    with pytest.raises(CueError) as caught:
        load_cues(tmp_path)
    assert caught.value.file == str(tmp_path / "mine.yaml")
    assert caught.value.record_id == "teeth.fused"
    assert caught.value.field == field
    assert all(part in str(caught.value) for part in ("mine.yaml", "teeth.fused", field))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("- [", "is no readable YAML"), ("cue_id: x", "must hold a list"), ("- 3", "record 1")],
)
def test_loading_names_a_file_that_holds_no_cues(tmp_path, text, reason):
    write(tmp_path, "mine.yaml", text)
    with pytest.raises(CueError, match=f"mine.yaml.*{reason}"):
        load_cues(tmp_path)


def test_loading_names_a_document_that_is_there_twice(tmp_path):
    doc = load_documents()["matern2019"].model_dump()
    write(tmp_path, DOCUMENTS_FILE, [doc, doc])
    with pytest.raises(CueError, match=r"matern2019: doc_id: used twice"):
        load_documents(tmp_path)


def test_loading_names_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CueError, match="away: is no folder"):
        load_cues(tmp_path / "away")
