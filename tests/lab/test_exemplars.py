"""Known examples: made by seed, loaded once, only under the encoder that made them, and retrieved."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.contract.samples import events
from tests.stages.toy import ColourEncoder, MemoryCache

from telltale.commands import preparing
from telltale.cues import load_cues, load_documents
from telltale.errors import UsageError
from telltale.events import RegionsDetected
from telltale.lab.exemplars import make
from telltale.policy import PolicyFile
from telltale.stages.claims import ClaimChecker
from telltale.stages.contract import Batch, Item
from telltale.stages.embedding import RegionEmbedder
from telltale.stages.retrieve import Retrieve
from telltale.stores.cues import CueStore
from telltale.stores.exemplars import load
from telltale.stores.migrate import migrate

KINDS = ("mouth_blur", "waxy_skin", "lattice", "pasted_nose")  # the last needs a second person
DETECTED = next(e for e in events() if isinstance(e, RegionsDetected))


@pytest.fixture(scope="module")
def made(faces, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "exemplars.safetensors"
    return path, make(ColourEncoder(), faces, path, seed=1, each=1, kinds=KINDS)


@pytest.fixture
def store(fresh_database):
    migrate(fresh_database)
    held = CueStore(fresh_database)
    yield held
    held.close()


def test_every_example_has_its_untouched_twin(made):
    known = made[1].exemplars
    edited = [e for e in known if e.edited]
    assert 2 * len(edited) == len(known)
    cues = {c.cue_id: c for c in load_cues()}
    assert all(e.cue_id in cues for e in edited)
    assert all(e.cue_id is None for e in known if not e.edited)
    assert {e.strength for e in known} == {0.5, 1.0}
    assert {e.kind for e in known} == set(KINDS[:3])
    assert made[0].stat().st_size < 100_000


def test_the_same_seed_makes_the_same_bytes(made, faces, tmp_path):
    again = tmp_path / "again.safetensors"
    make(ColourEncoder(), faces, again, seed=1, each=1, kinds=KINDS)
    assert again.read_bytes() == made[0].read_bytes()
    assert again.with_suffix(".json").read_bytes() == made[0].with_suffix(".json").read_bytes()


def test_loaded_again_they_change_nothing_and_new_ones_replace_them(made, store, faces, tmp_path):
    assert load(made[0], store)
    assert not load(made[0], store)
    other = tmp_path / "other.safetensors"
    about = make(ColourEncoder(), faces, other, seed=2, each=1, kinds=KINDS)
    assert load(other, store)
    types = {e.exemplar_id: e.region for e in about.exemplars}
    place = ("0.mouth", "mouth", np.ones(3, np.float32))
    found = store.exemplars(ColourEncoder.revision, [place], 50)["0.mouth"]
    assert set(found) == {i for i, region in types.items() if region == "mouth"}


class Reader:
    """Every picture is a gradient."""

    def pixels(self, sha256):
        ramp = np.linspace(0, 255, 640, dtype=np.uint8)
        return np.stack([np.tile(ramp, (480, 1))] * 3, axis=2)


def test_candidates_then_carry_known_examples(made, store):
    cues = {c.cue_id: c for c in load_cues()}
    store.load(list(cues.values()), load_documents(), ColourEncoder())
    load(made[0], store)
    embedder = RegionEmbedder(ColourEncoder(), MemoryCache(), Reader())
    checker = ClaimChecker(ColourEncoder(), list(cues.values()), None)
    stage = Retrieve(store, embedder, cues, PolicyFile(), Batch(4), checker)
    candidates = stage.process([Item(DETECTED, None)])[0].events[0].retrieval.candidates
    regions = {e.exemplar_id: e.region for e in made[1].exemplars}
    types = {r.region_id: r.type for r in DETECTED.detection.regions}
    known = [c for c in candidates if types[c.region_id] in regions.values()]
    assert known
    assert all(regions[e] == types[c.region_id] for c in known for e in c.exemplars)
    assert all(c.exemplars for c in known)


def test_examples_of_another_encoder_are_left_out_and_a_person_is_told(made, monkeypatch):
    monkeypatch.setattr(preparing, "exemplars_file", lambda settings: made[0])
    monkeypatch.setattr(preparing, "mini_encoder_revision", lambda: "mini-new")

    class Wired:
        class given:
            profile = "mini"

    notice = preparing.load_exemplars(Wired())
    assert "colour-1" in notice
    assert "mini-new" in notice
    assert "telltale lab exemplars" in notice


def test_no_file_is_no_news(monkeypatch, tmp_path):
    monkeypatch.setattr(preparing, "exemplars_file", lambda settings: tmp_path / "none.safetensors")

    class Wired:
        given = None

    assert preparing.load_exemplars(Wired()) is None


def test_a_damaged_file_is_named(made, store, tmp_path):
    path = tmp_path / "exemplars.safetensors"
    path.write_bytes(made[0].read_bytes()[:-1])
    path.with_suffix(".json").write_bytes(made[0].with_suffix(".json").read_bytes())
    with pytest.raises(UsageError, match=r"exemplars\.safetensors.*lab exemplars"):
        load(path, store)
    told = json.loads(path.with_suffix(".json").read_text())
    del told["encoder"]
    path.with_suffix(".json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="encoder"):
        load(path, store)
