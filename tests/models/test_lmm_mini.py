"""The mini judge: its tower is the encoder's, its answers hold to the schema, it can be late."""

import json
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import open_clip
import pytest
import torch

from telltale.errors import WeightsMissing
from telltale.lab.judge_data import Corpus, Scene, Writer
from telltale.models import lmm_mini
from telltale.models.clip import build_mini, mini_folder
from telltale.models.dct_stem import DctStem
from telltale.models.lmm import load_judge, load_mini
from telltale.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from lmm_questions import CUES, PAIRS, ask

ENCODER = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": 128, "patch_size": 16, "width": 96, "layers": 2, "head_width": 32,
            "mlp_ratio": 2.0,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def judge():
    return load_mini(Settings())


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(0)
    encoder = build_mini(ENCODER).eval()
    model = lmm_mini.build(lmm_mini.config_of(ENCODER, 4096, 3))
    lmm_mini.load_tower(model, encoder.state_dict())
    return encoder, model


def test_the_tower_gives_the_same_patch_features_as_open_clips(built):
    encoder, model = built
    pictures = torch.rand(2, 3, 128, 128) * 2 - 1
    with torch.inference_mode():
        tokens = encoder.visual._embeds(pictures)
        theirs = [tokens]
        for block in encoder.visual.transformer.resblocks:
            theirs.append(block(theirs[-1]))
        ours = model.model.vision_tower(pictures, output_hidden_states=True).hidden_states
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_it_is_transformers_own_llava_with_the_stem_in_place_of_the_patch_layer(judge):
    assert type(judge.model).__name__ == "LlavaForConditionalGeneration"
    assert type(judge.model).__module__.startswith("transformers.")
    tower = judge.model.model.vision_tower
    assert isinstance(getattr(tower, "vision_model", tower).embeddings.patch_embedding, DctStem)
    assert isinstance(encoder_of_open_clip(), open_clip.CLIP)


def test_its_language_model_has_about_ten_million_parameters(judge):
    language = judge.model.model.language_model
    assert 9e6 < sum(p.numel() for p in language.parameters()) < 11e6


def encoder_of_open_clip():
    return build_mini(ENCODER)


def test_the_processor_normalises_as_the_encoder_does_and_makes_room_for_each_crop(built):
    config = lmm_mini.config_of(ENCODER, 4096, 3)
    processor = lmm_mini.processor_of(mini_folder() / "tokenizer", config)
    white = np.full((128, 128, 3), 255, np.uint8)
    inputs = processor(text=["<image><image>"], images=[[white, white * 0]], return_tensors="pt")
    assert inputs["pixel_values"].shape == (2, 3, 128, 128)
    assert inputs["pixel_values"][0].unique().tolist() == [1.0]
    assert inputs["pixel_values"][1].unique().tolist() == [-1.0]
    image = (inputs["input_ids"] == config.image_token_index).sum()
    assert int(image) == 2 * config.image_seq_length


@pytest.mark.parametrize("language", ["en", "ko"])
def test_it_claims_each_pair_asked_once_and_holds_to_its_schema(judge, language):
    question = ask(language=language)
    written = judge.write([question])[0]
    schema = lmm_mini.schema(lmm_mini.grouped(question))
    jsonschema.validate(json.loads(written.text), schema)
    answer = judge.judge([question])[0]
    assert answer.status == "ok"
    assert {(c.cue_id, c.region_id) for c in answer.claims} == set(PAIRS)
    for claim in answer.claims:
        assert claim.sentence == getattr(getattr(CUES[claim.cue_id], claim.polarity), language)
        assert 0 < claim.confidence <= 1
    assert answer.verdict in ("manipulated", "authentic", "inconclusive")
    assert 0 < answer.confidence <= 1
    assert len(answer.observations) + len(answer.counter_evidence) == len(PAIRS)


def test_the_same_question_gets_the_same_answer_alone_or_among_others(judge):
    alone = judge.judge([ask(seed=3)])[0]
    among = judge.judge([ask(seed=1), ask(PAIRS[:1], seed=2), ask(seed=3)])
    assert among[2] == alone
    assert len(among[1].claims) == 1


def test_its_confidence_is_the_probability_of_what_it_chose(judge):
    question = ask(PAIRS[:1])
    written = judge.write([question])[0]
    answer = judge.judge([question])[0]
    assert answer.claims[0].confidence == pytest.approx(written.choices[0].probability, abs=1e-4)
    assert answer.confidence == pytest.approx(written.choices[1].probability, abs=1e-4)


def test_it_writes_at_least_twenty_tokens_a_second_of_processor_time(judge):
    judge.write([ask()])
    began = time.process_time()
    written = judge.write([ask()])[0]
    assert written.tokens / (time.process_time() - began) >= 20


def test_an_answer_cut_off_by_the_time_limit_is_late_and_inconclusive():
    judge = load_mini(Settings(judge_timeout_s=1e-6))
    answer = judge.judge([ask()])[0]
    assert (answer.status, answer.verdict, answer.claims) == ("late", "inconclusive", ())
    assert "longer than" in answer.reason


def test_the_training_text_is_token_for_token_what_the_judge_reads_and_writes(judge):
    question = lmm_mini.grouped(ask())
    text, shown = lmm_mini.prompt(question)
    writer = Writer(Corpus(list(CUES.values())), judge.tokenizer, 5, 1.0)
    number = writer.corpus.number
    pairs = [(number[c.cue_id], shown.index(r)) for c, r in question.asked]
    scene = Scene(
        np.zeros((2, 2, 5, 4), np.float16), tuple(shown), ("eye", "mouth"),
        np.zeros(2, np.float32), np.array([False, False]), "pasted_eye",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    written = json.dumps(
        {"claims": [
            {"cue_id": c.cue_id, "region_id": r, "polarity": "natural", "sentence": c.natural.en}
            for c, r in question.asked
        ], "verdict": "authentic"}, **lmm_mini.FORMAT,
    )  # fmt: skip
    texts = set()
    for _ in range(60):  # until a draw is English and invents nothing
        example = writer.example(scene, False, pairs, rng)
        texts.add(judge.tokenizer.decode(example.ids, skip_special_tokens=False))
    prompt = judge.tokenizer.bos_token + text.replace("<image>", "<image>" * 5)
    assert prompt + written + judge.tokenizer.eos_token in texts
    read = judge.processor(
        text=[judge.tokenizer.bos_token + text],
        images=[[question.crops[r] for r in shown]], return_tensors="pt", add_special_tokens=False,
    )["input_ids"][0].tolist()  # fmt: skip
    assert example.ids[: len(read)] == read
    image, (end,) = (
        judge.model.config.image_token_id,
        judge.tokenizer.encode("\n", add_special_tokens=False),
    )
    assert lmm_mini.asked_at(read, image, end) == example.lines


def test_a_claim_follows_what_was_said_at_its_cues_line_and_where_it_is_made(judge):
    """Each reading by itself, in passes of its own; only the first claim has nothing written before it."""
    question = ask(PAIRS[:1])
    text, shown = lmm_mini.prompt(question)
    head = json.dumps({"cue_id": PAIRS[0][0], "region_id": PAIRS[0][1], "polarity": ""}, **lmm_mini.FORMAT)  # fmt: skip
    read = judge.processor(
        text=[judge.tokenizer.bos_token + text], images=[[question.crops[r] for r in shown]],
        return_tensors="pt", add_special_tokens=False,
    )  # fmt: skip
    forced = judge.tokenizer.encode('{"claims": [' + head[:-2], add_special_tokens=False)
    ids = torch.cat([read["input_ids"], torch.tensor([forced])], 1)
    with torch.inference_mode():
        logits = judge.model(input_ids=ids, pixel_values=read["pixel_values"]).logits[0]
    image, (end,) = (
        judge.model.config.image_token_id,
        judge.tokenizer.encode("\n", add_special_tokens=False),
    )
    (at,) = lmm_mini.asked_at(read["input_ids"][0].tolist(), image, end)
    words = [
        judge.tokenizer.encode(p, add_special_tokens=False)[0] for p in ("artifact", "natural")
    ]
    line, here = (logits[n, words] for n in (at, -1))
    claim = judge.judge([question])[0].claims[0]
    sure = (line + here - torch.tensor([lmm_mini.CAUTION, 0.0])).softmax(0)
    assert claim.polarity == ("artifact", "natural")[int(sure.argmax())]
    assert claim.confidence == pytest.approx(float(sure.max()), abs=0.01)
    assert (line - here).abs().max() > 0.1  # two readings, not one


def test_missing_weights_name_the_file_the_folder_and_a_way_out(tmp_path):
    with pytest.raises(WeightsMissing) as raised:
        load_mini(Settings(), tmp_path)
    assert "config.json" in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert "telltale lab train judge" in str(raised.value)


def test_the_mini_profile_loads_the_judge_of_the_package():
    judge = load_judge(Settings(profile="mini"))
    assert judge.revision.startswith("mini-judge-")
    assert judge.crop_px == 128
