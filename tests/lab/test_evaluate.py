"""Evaluation through the stages on a tiny bench; and its tables on answers that are known."""

from __future__ import annotations

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data
from tests.contract.samples import events

from telltale.app import Wiring
from telltale.commands.lab import lab
from telltale.errors import UsageError
from telltale.events import Judgment, VerdictIssued
from telltale.lab import report, tables
from telltale.lab.ablation import without_cues, without_retrieval
from telltale.lab.bench import build
from telltale.lab.curves import append, plot
from telltale.lab.datasets import Sample, load
from telltale.lab.evaluate import evaluate
from telltale.lab.outcomes import Outcomes, outcomes
from telltale.lab.people import groups_of
from telltale.lab.pipeline import Pipeline
from telltale.lab.sampling import drawn, of_split
from telltale.regions import regions_for
from telltale.settings import load_settings
from telltale.stores.migrate import migrate

BOXES = [
    ("face", (176, 86, 274, 183)),
    ("eye", (189, 94, 215, 108)),
    ("eye", (233, 96, 262, 111)),
    ("nose", (208, 95, 242, 137)),
    ("mouth", (199, 136, 249, 157)),
    ("ear", (168, 108, 183, 132)),
    ("ear", (268, 115, 282, 138)),
]
HEADLINES = (
    "auroc", "ece", "cover", "chair", "hal", "f0_5", "accuracy", "precision", "recall", "f1",
    "macro_f1", "brier", "aurc", "coverage_at_10_risk",
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two kinds at three strengths in one public-domain portrait, under two names."""
    faces, out = tmp_path_factory.mktemp("faces"), tmp_path_factory.mktemp("bench")
    pixels = cv2.resize(data.astronaut(), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    for name in ("ann_1", "ben_1"):
        Image.fromarray(pixels).save(faces / f"{name}.png")
    (faces / "people.csv").write_text("id,age,gender\nann,24,female\nben,51,male\nzoe,30,female\n")
    find = lambda _: [(t, tuple(2.0 * v for v in b), 0.9, None) for t, b in BOXES]  # noqa: E731
    build(faces, out, 1, find, kinds=("mouth_blur", "recompression"))
    return out


@pytest.fixture(scope="module")
def wiring(stack, stack_home, tmp_path_factory):
    """The mini profile on the shared servers; its models are loaded once."""
    migrate(stack.postgres_dsn)
    made = Wiring(
        load_settings(
            home=stack_home,
            kafka_bootstrap=stack.kafka_bootstrap,
            postgres_dsn=stack.postgres_dsn,
            redis_url=stack.redis_url,
            images_url=f"file://{tmp_path_factory.mktemp('images')}",
        )
    )
    made.load_cues()
    return made


@pytest.fixture(scope="module")
def pipeline(wiring):
    made = Pipeline(wiring)
    yield made
    made.close()


def test_the_command_says_again_what_it_said(bench, wiring, tmp_path):
    given = {
        "TELLTALE_HOME": str(wiring.given.home),
        "TELLTALE_KAFKA_BOOTSTRAP": wiring.given.kafka_bootstrap,
        "TELLTALE_POSTGRES_DSN": wiring.given.postgres_dsn,
        "TELLTALE_REDIS_URL": wiring.given.redis_url,
        "TELLTALE_IMAGES_URL": wiring.given.images_url,
    }
    said = []
    for _ in range(2):
        command = ["evaluate", "--bench", str(bench), "--split", "all", "--json", "--limit", "4"]
        command += ["--recompress", "1", "--without", "verification", "--out", str(tmp_path)]
        done = CliRunner().invoke(lab, command, env=given, catch_exceptions=False)
        assert done.exit_code == 0
        said.append(json.loads(done.stdout))
    first = said[0]
    assert first == said[1]
    assert all(set(first[name]) == {"value", "low", "high"} for name in HEADLINES)
    assert set(first["auroc_by_kind"]) == {"mouth_blur", "recompression"}
    assert first["pictures"] == 4
    assert first["people"] == 2
    assert set(first["by_group"]) == {"female", "male", "under 25", "40 and over"}
    assert first["by_group"]["under 25"]["people"] == 1
    assert first["weights"]["encoder"] == wiring.encoder.revision
    in_force = first["by_named_from"][f"{wiring.policy.current().named_from:g}"]
    assert in_force == {name: first[name] for name in ("cover", "chair", "hal", "f0_5")}
    assert first["check_recompressed"]["pictures"] == 1
    assert 0 < first["without"]["verification"]["mcnemar"]["p"] <= 1
    assert json.loads((tmp_path / "evaluation.json").read_text()) == first
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len({a["picture"] for a in answers}) == 4
    assert all(
        {c["region_id"] for c in a["verdict"]["claims"]} <= set(a["regions"]) for a in answers
    )
    with (tmp_path / "evaluation.csv").open() as file:
        named = {r["figure"] for r in csv.DictReader(file)}
    assert {"auroc", "auroc_by_kind: mouth_blur", "by_group: male: misses"} <= named
    assert Image.open(tmp_path / "evaluation.png").size[0] > 300


def test_a_bench_is_known_by_what_was_judged_wherever_it_lies(bench, pipeline, tmp_path):
    def told(folder, count):
        return evaluate(pipeline, load("bench", folder)[:count], recompress=0)["bench"]

    shutil.copytree(bench, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "notes.txt").write_text("not a picture")
    assert told(bench, 1) == told(tmp_path / "elsewhere", 1)
    assert told(bench, 1) != told(bench, 2)


def test_without_retrieval_as_many_cues_are_asked_where_they_can_be_seen(
    bench, wiring, pipeline, monkeypatch
):
    judged = pipeline.judged([load("bench", bench)[0].read()])
    asked = []
    monkeypatch.setattr(pipeline, "asked_again", lambda es: asked.extend(es) or judged)
    without_retrieval(pipeline, judged)
    before, after = judged[0].judgment.retrieval, asked[0].retrieval
    assert len(after.candidates) == len(before.candidates) > 0
    assert {c.cue_id for c in after.candidates} != {c.cue_id for c in before.candidates}
    places = {r.region_id: r.geometry() for r in asked[0].detection.regions}
    for c in after.candidates:
        assert regions_for(wiring.cues[c.cue_id].region, [places[c.region_id]])


class BareJudge:
    """Answers for a judge that can be asked without cues, as the mini judge cannot."""

    revision, crop_px = "bare-1", 32

    def judge(self, questions):
        assert all(q.asked == () and q.regions for q in questions)
        return [
            Judgment(status="ok", verdict="authentic", confidence=0.75, judge=self.revision)
            for _ in questions
        ]


def test_without_cues_the_judge_is_told_of_none_and_claims_none(bench, pipeline, monkeypatch):
    judged = pipeline.judged([load("bench", bench)[0].read()])
    with pytest.raises(UsageError, match="--without cues"):
        without_cues(pipeline, judged)
    monkeypatch.setattr(pipeline, "judge", BareJudge())
    found = without_cues(pipeline, judged)
    assert [v.claims for v in found] == [()]
    assert found[0].provenance.judge == "bare-1"


def known(probability, label, **more) -> Outcomes:
    """Pictures in pairs, each of another person; edited ones are waxy and plain unless said."""
    n = len(label)
    given = {
        "manipulated": np.array(label, float),
        "kind": np.where(np.array(label) > 0, "waxy_skin", ""),
        "strength": np.where(np.array(label) > 0, 1.0, np.nan),
        "pair": np.array([f"p{i // 2}" for i in range(n)]),
        "person": [f"who{i // 2}" for i in range(n)],
        "planted": np.array(label, float),
        "probability": np.array(probability, float),
        "said": np.where(np.array(probability) >= 0.5, "manipulated", "authentic"),
        "covered": np.zeros(n),
        "false_claims": np.zeros(n),
        "claims": np.zeros(n),
    }
    return Outcomes(**given | more)


def test_each_twin_is_compared_with_its_own_and_a_tie_is_no_success():
    o = known([0.2, 0.3, 0.9, 0.95, 0.6, 0.6, 0.5, 0.1], [0, 1] * 4)
    table = tables.breakdowns(o, {})
    assert table["edited_above_twin"]["value"] == 0.5
    assert table["edited_above_twin_by_strength"]["plain"]["value"] == 0.5


def test_strengths_and_kinds_left_out_have_their_own_rows():
    o = known(
        [0.1, 0.9, 0.1, 0.05, 0.1, 0.9], [0, 1] * 3,
        kind=np.array(["", "waxy_skin", "", "waxy_skin", "", "pasted_nose"]),
        strength=np.array([np.nan, 1.0, np.nan, 0.5, np.nan, 1.0]),
    )  # fmt: skip
    table = tables.breakdowns(o, {})
    assert table["auroc_by_strength"]["plain"]["value"] == 1.0
    assert table["auroc_by_strength"]["medium"]["value"] == 0.0
    assert "subtle" not in table["auroc_by_strength"]
    assert table["auroc_left_out"]["value"] == 1.0
    assert table["auroc_by_kind"]["waxy_skin"]["value"] == 0.5


def test_errors_are_told_by_group_with_the_number_of_people():
    o = known([0.9, 0.9, 0.1, 0.1, 0.9, 0.9], [0, 1] * 3)
    table = tables.breakdowns(o, {"who0": ("a",), "who1": ("b",), "who2": ("a",)})["by_group"]
    assert table["a"]["false_alarms"]["value"] == 1.0
    assert table["a"]["misses"]["value"] == 0.0
    assert table["b"]["misses"]["value"] == 1.0
    assert (table["a"]["people"], table["b"]["people"]) == (2, 1)


def test_random_labels_end_at_one_half_whatever_the_answers():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 400)
    found = tables.random_labels(known(label + rng.normal(0, 0.1, 400), label))
    assert found["low"] < 0.5 < found["high"]
    assert abs(found["value"] - 0.5) < 0.03


def test_a_part_that_helps_shows_in_the_difference_and_in_mcnemars_test():
    label = [0, 1] * 20
    whole, part = known(np.array(label) * 0.8 + 0.1, label), known([0.9] * 40, label)
    found = tables.compared(whole, part)
    assert found["accuracy"]["value"] == 0.5
    assert found["difference"]["accuracy"]["value"] == 0.5
    assert found["mcnemar"] == {"only_first": 20, "only_second": 0, "p": pytest.approx(2e-6)}


def test_what_a_verdict_names_counts_and_nothing_else():
    issued = next(e for e in events() if isinstance(e, VerdictIssued))
    claim = issued.verdict.claims[0].model_copy(update={"polarity": "artifact"})
    sample = Sample("a", None, 1, "waxy_skin", 1.0, claim.cue_id)
    for named, counted in ((True, 1), (False, 0)):
        said = (claim.model_copy(update={"named": named}),)
        o = outcomes([sample], [issued.verdict.model_copy(update={"claims": said})])
        assert (o.covered[0], o.claims[0]) == (counted, counted)


def test_another_policy_would_have_named_other_artifacts():
    verdict = next(e for e in events() if isinstance(e, VerdictIssued)).verdict
    claim = verdict.claims[0].model_copy(update={"cue_id": "teeth.fused", "probability": 0.8})
    sample = Sample("a", None, 1, "mouth_blur", 1.0, "teeth.fused")
    for polarity, expected in (("artifact", [1.0, 1.0, 0.0]), ("natural", [0.0, 0.0, 0.0])):
        claims = (claim.model_copy(update={"polarity": polarity}),)
        said = verdict.model_copy(update={"claims": claims})
        covered = [float(outcomes([sample], [said], p).covered[0]) for p in (0.7, 0.8, 0.9)]
        assert covered == expected


def test_a_limited_draw_keeps_pairs_and_spreads_over_kinds_and_people():
    samples = [
        Sample(f"{person}-{kind}-{label}", None, label, kind if label else None,
               1.0 if label else None, person=person, split="test", pair=f"{person}-{kind}")
        for person in "abcdef" for kind in ("x", "y", "z") for label in (0, 1)
    ]  # fmt: skip
    few = drawn(samples, 6)
    assert few == drawn(samples, 6)
    assert sum(s.label for s in few) == 3
    assert len({s.pair for s in few}) == 3
    assert {s.kind for s in few if s.label} == {"x", "y", "z"}
    more = drawn(samples, 37)
    assert more == samples
    assert len({s.person for s in drawn(samples, 12)}) >= 3


def test_a_limited_draw_without_pairs_takes_real_and_edited_alike():
    samples = [Sample(f"r{n}", None, 0) for n in range(50)]
    samples += [Sample(f"f{n}", None, 1, "ADM") for n in range(10)]
    assert sum(s.label for s in drawn(samples, 10)) == 5


def test_a_split_without_samples_names_those_there_are():
    with pytest.raises(UsageError, match=r"train, val.*--split all"):
        of_split([Sample("a", None, 0, split="val"), Sample("b", None, 0, split="train")], "test")


def test_people_are_in_the_groups_they_named(bench):
    assert groups_of(bench) == {"ann": ("under 25", "female"), "ben": ("40 and over", "male")}
    assert groups_of(bench / "pictures" / "nowhere") == {}


def test_a_resumed_run_writes_its_figures_under_their_names(tmp_path):
    append(tmp_path / "curve.csv", {"step": 1, "loss": 3.0, "rate": 0.1})
    append(tmp_path / "curve.csv", {"step": 2, "rate": 0.2, "loss": 2.0})
    append(tmp_path / "curve.csv", {"step": 3, "rate": 0.3})
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines == ["step,loss,rate", "1,3.0,0.1", "2,2.0,0.2", "3,nan,0.3"]


def test_a_curve_is_drawn_with_a_panel_for_all_that_was_watched(tmp_path):
    curve = tmp_path / "curve.csv"
    curve.write_text("step,seconds,loss,rate\n1,2,3.0,0.1\n2,4,2.0,0.1\n2,5,1.5,0.1\n")
    assert Image.open(plot(curve, tmp_path / "curve.png")).size[0] > 300


def test_the_tables_are_shown_with_what_they_are_about(capsys):
    o = known([0.1, 0.9, 0.2, 0.8], [0, 1] * 2)
    table = tables.figures(o) | tables.breakdowns(o, {}) | {"bench": "abc123"}
    report.show(table)
    shown = capsys.readouterr().out
    assert "4 pictures of 2 people, bench abc123" in shown
    assert "auroc_by_kind: waxy_skin" in shown
