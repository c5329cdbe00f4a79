"""Models of the standard profile: tiny ones of the very architectures, saved to disk and loaded."""

import sys
from pathlib import Path

import pytest

from telltale.errors import WeightsMissing
from telltale.models.lmm import TransformersJudge, load_judge
from telltale.models.lmm_prompt import answer_schema
from telltale.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from lmm_questions import PAIRS, ask
from tiny_judges import brief, save_llava, save_mllama, save_qwen2_5, save_qwen3

ASKED = PAIRS[:1]
SAVE = {
    "llava-hf/tiny": save_llava,
    "meta-llama/tiny-Vision": save_mllama,
    "Qwen/tiny-2.5-VL": save_qwen2_5,
    "Qwen/tiny-3-VL": save_qwen3,
}
MODEL_TYPES = dict(zip(SAVE, ("llava", "mllama", "qwen2_5_vl", "qwen3_vl"), strict=True))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, save in SAVE.items():
        save(folder / name.replace("/", "--"))
    return folder


def load(weights, name, **options) -> TransformersJudge:
    given = {"judge_max_tokens": 1500, "judge_attempts": 2, "allow_download": False} | options
    settings = Settings(profile="standard", judge_model=name, weights_dir=weights, **given)
    return load_judge(settings)


@pytest.mark.parametrize("name", SAVE)
def test_a_model_loads_from_its_folder_and_answers_in_the_schema(weights, name):
    judge = load(weights, name)
    brief(judge.model, judge.tokenizer)
    assert judge.model.config.model_type == MODEL_TYPES[name]
    assert judge.revision.startswith(f"{name}@")
    questions = [ask(ASKED, judge.crop_px), ask(PAIRS, judge.crop_px, language="ko", seed=1)]
    answers = judge.judge(questions)
    for question, answer in zip(questions, answers, strict=True):
        assert answer.status == "ok", answer.reason
        asked = {(c.cue_id, r) for c, r in question.asked}
        assert {(c.cue_id, c.region_id) for c in answer.claims} <= asked
        assert answer.judge == judge.revision


def test_a_model_trained_with_one_picture_gets_a_sheet_others_get_the_close_ups(weights):
    for name, pictures in zip(SAVE, (1, 1, 3, 3), strict=True):
        judge = load(weights, name)
        _, shown = judge.prompt(ask(PAIRS, judge.crop_px))
        assert len(shown) == pictures


def test_an_answer_that_stays_broken_is_unreadable_after_the_attempts(weights):
    judge = load(weights, "llava-hf/tiny", judge_max_tokens=64)
    judge.max_tokens = 4  # no JSON object ends within four tokens
    answer = judge.judge([ask(ASKED, judge.crop_px)])[0]
    assert (answer.status, answer.verdict) == ("unreadable", "inconclusive")
    assert "cannot be read" in answer.reason


def test_the_time_limit_ends_an_answer_as_late(weights):
    judge = load(weights, "llava-hf/tiny", judge_timeout_s=1e-6)
    answer = judge.judge([ask(ASKED, judge.crop_px)])[0]
    assert (answer.status, answer.verdict) == ("late", "inconclusive")


def test_a_folder_can_be_named_outright(weights):
    folder = weights / "llava-hf--tiny"
    judge = load(None, str(folder))
    assert judge.revision.startswith(f"{folder}@")


def test_missing_weights_name_the_id_the_folder_and_the_offline_alternative(tmp_path):
    with pytest.raises(WeightsMissing) as raised:
        load(tmp_path, "llava-hf/llava-1.5-7b-hf")
    told = str(raised.value)
    assert "llava-hf/llava-1.5-7b-hf" in told
    assert str(tmp_path / "llava-hf--llava-1.5-7b-hf") in told
    assert "mini profile" in told
    assert "TELLTALE_JUDGE_ENDPOINT" in told


def test_the_grammar_of_a_question_compiles_for_every_tokenizer(weights):
    for name in SAVE:
        judge = load(weights, name)
        assert judge.grammar(answer_schema(ask())) is not None
