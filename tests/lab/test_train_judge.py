"""Training the mini judge: fair questions, true answers, a run that goes on where it was cut off."""

import copy
import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from telltale.cues import load_cues
from telltale.errors import UsageError, WeightsMissing
from telltale.lab import judge_figures, judge_loss, train_judge
from telltale.lab.judge_data import IGNORED, Corpus, Scene, Writer
from telltale.lab.judge_figures import Row
from telltale.lab.pairs import split_of
from telltale.models import lmm_mini
from telltale.models.lmm import load_mini
from telltale.models.lmm_growth import LANGUAGE_LAYERS
from telltale.settings import Settings

REGIONS = {
    "0.face": "face", "0.eye.0": "eye", "0.eye.1": "eye", "0.mouth": "mouth", "0.skin": "skin",
    "0.hair": "hair", "image": "image",
}  # fmt: skip
CORPUS = Corpus(load_cues())


def scene(kind="pasted_eye", own="0.eye.0", seed=0):
    """An edit of one region, all of whose features are then ones rather than noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(1, len(REGIONS), 5, 384)).repeat(2, 0).astype(np.float16)
    here = np.array([r == own for r in REGIONS])
    features[1, here] = 1.0
    share = here.astype(np.float32)
    return Scene(features, tuple(REGIONS), tuple(REGIONS.values()), share, here, kind, 1.0, "p")


def pair(cue_id, region):
    return CORPUS.number[cue_id], list(REGIONS).index(region)


def test_a_question_asks_different_pairs_where_the_product_looks_grouped_by_region():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pairs = CORPUS.ask(scene(), 12, rng)
        assert len(set(pairs)) == len(pairs) == 12
        for cue, region in pairs:
            assert region in CORPUS.places(cue, tuple(REGIONS.values()))
        regions = [r for _, r in pairs]
        assert regions == [r for first in dict.fromkeys(regions) for r in regions if r == first]


def test_most_questions_ask_about_the_planted_cue_but_some_mislead_altogether():
    rng = np.random.default_rng(0)
    planted = pair("eyes.pasted", "0.eye.0")
    share = np.mean([planted in CORPUS.ask(scene(), 6, rng) for _ in range(200)])
    assert 0.75 < share < 0.97


def test_nothing_is_true_of_an_untouched_picture():
    for cue in range(len(CORPUS.cues)):
        assert CORPUS.truth(scene(), False, (cue, 0)) is False


@pytest.mark.parametrize(
    ("cue_id", "region", "there"),
    [
        ("eyes.pasted", "0.eye.0", True),  # planted here
        ("eyes.pasted", "0.eye.1", False),  # the other eye was left alone
        ("teeth.fused", "0.mouth", False),
        ("skin.waxy", "0.skin", False),
        ("eyes.dull_cornea", "0.eye.0", None),  # a pasted eye may well look dull
        ("eyes.highlights_disagree", "0.eye.0", None),
    ],
)
def test_an_edit_makes_its_own_cue_true_and_leaves_its_kin_unknown(cue_id, region, there):
    assert CORPUS.truth(scene(), True, pair(cue_id, region)) is there


def written(answered=True, edited=True, seed=0):
    judge = load_mini(Settings())
    writer = Writer(CORPUS, judge.tokenizer, 5, 3.0)
    pairs = [pair("eyes.pasted", "0.eye.0"), pair("teeth.fused", "0.mouth")]
    example = writer.example(scene(), edited, pairs, np.random.default_rng(seed), answered)
    return judge.tokenizer, example


def test_labels_say_what_is_true_even_where_the_answer_so_far_says_otherwise():
    for seed in range(12):
        tokenizer, example = written(seed=seed)
        ids = tokenizer.convert_ids_to_tokens(example.ids)
        at = [n for n, t in enumerate(ids) if t in ("artifact", "natural") and ids[n - 1] == 'Ġ"']
        assert tokenizer.convert_ids_to_tokens([example.labels[n - 1] for n in at]) == ["artifact", "natural"]  # fmt: skip
        labelled = [i for i in example.labels if i != IGNORED]
        assert tokenizer.decode(labelled).rstrip().endswith("m")  # of 'manipulated'
    missed = {written(seed=s)[1].ids != written(seed=0)[1].ids for s in range(12)}
    assert True in missed


def test_a_choice_is_learned_as_it_is_decoded_with_what_its_cues_line_said():
    tokenizer, example = written()
    assert len(example.lines) == len(example.choices) == 2
    assert [example.ids[n] for n in example.lines] == [
        tokenizer.encode("\n", add_special_tokens=False)[0]
    ] * 2
    for line, choice in zip(example.lines, example.choices, strict=True):
        assert example.labels[line] == example.labels[choice] != IGNORED
    unlabelled = [n for n, label in enumerate(example.labels) if label == IGNORED]
    torch.manual_seed(0)
    logits = torch.randn(2, len(example.ids), 7)
    at = torch.ones(2, len(example.ids), dtype=torch.bool)
    at[:, unlabelled] = False
    _, unanswered = written(answered=False)
    batch = [(scene(), True, unanswered), (scene(), True, example)]
    joined = torch.full_like(logits, torch.nan)
    joined[at] = judge_loss.with_lines(logits[at], at, batch)
    expected = logits.clone()
    expected[1, example.choices] += logits[1, example.lines]
    torch.testing.assert_close(joined[at], expected[at])


def test_a_question_without_its_answer_still_teaches_claims_and_verdict():
    tokenizer, example = written(answered=False)
    labels = tokenizer.convert_ids_to_tokens([i for i in example.labels if i != IGNORED])
    assert labels == ["artifact", "natural", "m"]
    assert example.regions == [1, 3]
    assert example.ids.count(tokenizer.convert_tokens_to_ids("<image>")) == 10


@pytest.fixture
def small_steps(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(train_judge, "TOKENS_PER_STEP", 400)
    monkeypatch.setattr(train_judge, "WARM_STEPS", 2)


def started(out, seed=1):
    run = train_judge.Run(out, lmm_mini.mini_folder(), seed)
    run.whole = [scene(), scene("mouth_blur", "0.mouth", 1), scene("waxy_skin", "0.skin", 2)]
    return run


def test_training_learns_what_can_be_seen(tmp_path, small_steps):
    run = started(tmp_path)
    for _ in range(40):
        run.step(0.1)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [r["step"] for r in rows] == ["20", "40"]
    assert float(rows[-1]["at_line"]) < 0.7 * float(rows[0]["at_line"])


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path, small_steps):
    whole, cut = started(tmp_path / "whole"), started(tmp_path / "cut")
    for run in (whole, cut):
        run.out.mkdir()
        run.step(0.1)
    cut.save()
    resumed = started(tmp_path / "cut", seed=9)
    assert resumed.resume()
    whole.step(0.2)
    resumed.step(0.2)
    assert resumed.steps == 2
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, msg=name)


def test_a_checkpoint_of_another_depth_is_refused(tmp_path, small_steps):
    run = started(tmp_path)
    run.config.text_config.num_hidden_layers = 6
    run.save()
    with pytest.raises(UsageError, match=r"checkpoint.pt is of another configuration.*--start"):
        started(tmp_path).resume()


def test_what_training_exports_is_a_judge_with_the_encoders_tower(tmp_path, small_steps):
    run = started(tmp_path)
    run.step(0.1)
    run.export(tmp_path / "weights")
    judge = load_mini(Settings(), tmp_path / "weights")
    for name, value in judge.model.model.vision_tower.state_dict().items():
        torch.testing.assert_close(
            value, run.model.model.vision_tower.state_dict()[name].half().float()
        )
    assert sum(f.stat().st_size for f in (tmp_path / "weights").iterdir()) < 25e6
    assert not list((tmp_path / "weights").glob("*.bin"))


def test_training_may_begin_with_an_earlier_judge_whose_tower_it_leaves(tmp_path, small_steps):
    run = started(tmp_path)
    tower = {k: v.clone() for k, v in run.model.model.vision_tower.state_dict().items()}
    earlier, _, _ = lmm_mini.load()
    with torch.no_grad():
        earlier.model.multi_modal_projector.out.bias.add_(1.0)
    lmm_mini.save(earlier, run.processor, tmp_path / "earlier")
    lmm_mini.load_rest(run.model, tmp_path / "earlier")
    ours = run.model.model.multi_modal_projector.out.bias
    torch.testing.assert_close(
        ours, earlier.model.multi_modal_projector.out.bias, atol=1e-3, rtol=0
    )
    assert run.model.lm_head.weight is run.model.get_input_embeddings().weight
    for name, value in run.model.model.vision_tower.state_dict().items():
        assert torch.equal(value, tower[name])


def fewer_layers(judge, layers, folder):
    """The first layers of a judge, as a folder of weights."""
    state = {k: v for k, v in judge.state_dict().items() if k != "lm_head.weight"}
    kept = {
        k: v.half().contiguous()
        for k, v in state.items()
        if not k.startswith(LANGUAGE_LAYERS)
        or int(k.removeprefix(LANGUAGE_LAYERS).split(".")[0]) < layers
    }
    folder.mkdir()
    save_file(kept, folder / lmm_mini.WEIGHTS_FILE)
    return folder


def logits_of(model, ids):
    with torch.inference_mode():
        return model.lm_head(
            model.model.language_model(inputs_embeds=model.get_input_embeddings()(ids))[0]
        )


def test_a_judge_of_fewer_layers_grows_into_one_that_says_the_same_and_can_learn(
    tmp_path, small_steps
):
    deep = started(tmp_path).model
    folder = fewer_layers(deep, 3, tmp_path / "shallow")
    shallow_config = copy.deepcopy(deep.config)
    shallow_config.text_config.num_hidden_layers = 3
    shallow = lmm_mini.build(shallow_config)
    lmm_mini.load_rest(shallow, folder)
    ids = torch.arange(5, 45)[None]
    assert not torch.allclose(logits_of(deep, ids), logits_of(shallow, ids), atol=1e-2)
    lmm_mini.load_rest(deep, folder)
    torch.testing.assert_close(logits_of(deep, ids), logits_of(shallow, ids), atol=1e-5, rtol=0)
    deep(input_ids=ids, labels=ids).loss.backward()
    for layer in deep.model.language_model.layers:
        assert layer.mlp.down_proj.weight.grad.abs().max() > 0
        assert layer.self_attn.o_proj.weight.grad.abs().max() > 0


def test_a_judge_of_more_layers_is_refused(tmp_path, small_steps):
    deep = started(tmp_path).model
    folder = fewer_layers(deep, 3, tmp_path / "deeper")
    shallow_config = copy.deepcopy(deep.config)
    shallow_config.text_config.num_hidden_layers = 2
    with pytest.raises(WeightsMissing, match="a judge of this architecture"):
        lmm_mini.load_rest(lmm_mini.build(shallow_config), folder)


def test_a_training_that_begins_with_earlier_weights_asks_as_much_as_at_the_end(
    tmp_path, small_steps
):
    scratch = started(tmp_path / "scratch")
    judge = lmm_mini.mini_folder() / "judge"
    onwards = train_judge.Run(tmp_path / "on", lmm_mini.mini_folder(), 1, start=judge)
    onwards.whole = scratch.whole

    def asked(run, progress):
        return {len(run.batch(progress)[0][2].lines) for _ in range(30)}

    assert max(asked(scratch, 0.0)) <= 2
    assert min(asked(scratch, 0.9)) >= 4
    assert min(asked(onwards, 0.0)) >= 4
    onwards.out.mkdir()
    onwards.save()
    resumed = started(tmp_path / "on")
    assert resumed.resume()
    assert resumed.onwards


def test_training_without_an_encoder_says_how_to_get_one(tmp_path):
    with pytest.raises(WeightsMissing, match="telltale lab train encoder"):
        train_judge.Run(tmp_path, tmp_path, 1)


def row(edited, said, **more):
    return Row("p", "pasted_eye", edited, said, 0.0, **{"asked": edited} | more)


def test_figures_count_inconclusive_as_wrong_and_claims_by_what_is_there():
    rows = [
        row(True, "manipulated", claims=((0.9, True), (0.8, True), (0.6, False))),
        row(True, "inconclusive"),
        row(False, "authentic"),
        row(False, "manipulated", claims=((0.7, False),)),
    ]
    table = judge_figures.figures(rows, seed=0)
    assert table["accuracy"]["value"] == 0.5
    assert table["cover"]["value"] == 0.5
    assert table["chair"]["value"] == 0.5
    assert table["hal"]["value"] == 0.5
    # manipulated: precision 1/2, recall 1/2; authentic: precision 1, recall 1/2
    assert table["macro_f1"]["value"] == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-4)


def test_the_surer_a_named_artifact_must_be_the_fewer_are_invented_and_found():
    rows = [
        row(True, "manipulated", claims=((0.95, True), (0.65, False))),
        row(True, "manipulated", claims=((0.75, True),)),
        row(False, "manipulated", claims=((0.55, False),)),
    ]
    table = judge_figures.by_confidence(rows, seed=0)
    told = {least: (f["cover"]["value"], f["chair"]["value"]) for least, f in table.items()}
    assert told == {
        "0.5": (1.0, 0.5), "0.6": (1.0, 0.3333), "0.7": (1.0, 0.0), "0.8": (0.5, 0.0), "0.9": (0.5, 0.0),
    }  # fmt: skip


def test_the_people_of_a_split_have_figures_of_their_own():
    faces = [f"{n:03d}" for n in range(300)]
    test, val = (next(p for p in faces if split_of(p) == split) for split in ("test", "val"))
    rows = [
        replace(row(True, "manipulated"), person=test),
        replace(row(False, "authentic"), person=test),
        replace(row(True, "authentic"), person=val),
    ]
    table = judge_figures.of_split(rows, "test", seed=0)
    assert (table["people"], table["accuracy"]["value"]) == (1, 1.0)
    assert judge_figures.of_split(rows, "val", seed=0)["accuracy"]["value"] == 0.0
    assert judge_figures.of_split(rows[2:], "test", seed=0) == {"people": 0}


def test_errors_are_told_by_group():
    rows = [
        row(True, "inconclusive"),
        row(False, "manipulated"),
        row(False, "authentic"),
        replace(row(True, "manipulated"), person="other"),
        replace(row(False, "authentic"), person="other"),
    ]
    table = judge_figures.by_group(rows, {"p": ("female",), "other": ("male", "female")}, seed=0)
    assert set(table) == {"female", "male"}
    assert table["female"]["people"] == 2
    assert table["female"]["false_alarms"]["value"] == pytest.approx(1 / 3, abs=1e-3)
    assert table["female"]["misses"]["value"] == 0.5
    assert table["female"]["inconclusive"]["value"] == 0.2
    assert table["male"]["misses"] == {"value": 0.0, "low": None, "high": None}
