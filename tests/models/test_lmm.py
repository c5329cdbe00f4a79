"""Models of the standard profile: tiny ones of the very architectures, saved to disk and loaded."""

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
)

from telltale.errors import WeightsMissing
from telltale.models.clip import mini_folder
from telltale.models.lmm import TransformersJudge, load_judge
from telltale.models.lmm_prompt import answer_schema
from telltale.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from lmm_questions import PAIRS, ask

ASKED = PAIRS[:1]
QWEN_MARKS = (
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>",
    "<|im_end|>",
)  # fmt: skip
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def brief(model, tokenizer):
    """Make a random model prefer to end its strings, as a trained one does: it stays random."""
    ends = [
        i for t, i in tokenizer.get_vocab().items() if t.startswith('"') or "}" in t or "]" in t
    ]
    with torch.no_grad():
        head = model.get_output_embeddings()
        head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
        head.bias[ends] = 30.0
    return model


def save_llava(folder):
    tokenizer = AutoTokenizer.from_pretrained(str(mini_folder() / "tokenizer"))
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            image_size=32, patch_size=16, projection_dim=32,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=4096, pad_token_id=0, bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    model.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))


def save_qwen(folder):
    tokenizer = AutoTokenizer.from_pretrained(str(mini_folder() / "tokenizer"))
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_MARKS)})
    ids = {t: tokenizer.convert_tokens_to_ids(t) for t in QWEN_MARKS}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "max_position_embeddings": 8192, "pad_token_id": 0, "bos_token_id": 1,
            "eos_token_id": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 14, "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    images = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)
    images.save_pretrained(str(folder))
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    processor_config = {"processor_class": Qwen2_5_VLProcessor.__name__}
    (folder / "processor_config.json").write_text(json.dumps(processor_config))


SAVE = {"llava-hf/tiny": save_llava, "Qwen/tiny-VL": save_qwen}


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
    assert judge.revision.startswith(f"{name}@")
    questions = [ask(ASKED, judge.crop_px), ask(PAIRS, judge.crop_px, language="ko", seed=1)]
    answers = judge.judge(questions)
    for question, answer in zip(questions, answers, strict=True):
        assert answer.status == "ok", answer.reason
        asked = {(c.cue_id, r) for c, r in question.asked}
        assert {(c.cue_id, c.region_id) for c in answer.claims} <= asked
        assert answer.judge == judge.revision


def test_a_model_trained_with_one_picture_gets_a_sheet_others_get_the_close_ups(weights):
    for name, pictures in (("llava-hf/tiny", 1), ("Qwen/tiny-VL", 3)):
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


def test_the_grammar_of_a_question_compiles_for_either_tokenizer(weights):
    for name in SAVE:
        judge = load(weights, name)
        assert judge.grammar(answer_schema(ask())) is not None
