"""retrieve: cues and counter-cues in balance, where they belong, the same for the same picture."""

from __future__ import annotations

import numpy as np
import pytest

from telltale.cues import load_cues
from telltale.events import Detection, RegionsDetected, value_bytes
from telltale.policy import PolicyFile
from telltale.regions import WHERE
from telltale.stages.claims import ClaimChecker
from telltale.stages.contract import Batch, Item
from telltale.stages.embedding import RegionEmbedder
from telltale.stages.retrieve import Retrieve
from telltale.stores.cues import CueStore
from telltale.stores.migrate import migrate
from tests.contract.samples import events
from tests.stages.toy import ColourEncoder, MemoryCache, calibration, cue

DETECTED = next(e for e in events() if isinstance(e, RegionsDetected))
CUES = {c.cue_id: c for c in load_cues()}


class Reader:
    """Every picture is a gradient; how often one is asked for is counted."""

    def __init__(self) -> None:
        self.asked = 0

    def pixels(self, sha256: str) -> np.ndarray:
        self.asked += 1
        ramp = np.linspace(0, 255, 640, dtype=np.uint8)
        return np.stack([np.tile(ramp, (480, 1))] * 2 + [np.full((480, 640), 9, np.uint8)], axis=2)


@pytest.fixture
def store(fresh_database: str):
    migrate(fresh_database)
    made = CueStore(fresh_database)
    yield made
    made.close()


def retrieve(store, cues=CUES, cache=None, reader=None, fitted=None) -> Retrieve:
    encoder = ColourEncoder()
    embedder = RegionEmbedder(encoder, cache or MemoryCache(), reader or Reader())
    checker = ClaimChecker(encoder, list(cues.values()), fitted)
    return Retrieve(store, embedder, cues, PolicyFile(), Batch(4), checker)


def answer(stage: Retrieve, event: RegionsDetected = DETECTED):
    return stage.process([Item(event, None)])[0].events[0]


def load(store, cues) -> None:
    from telltale.cues import load_documents

    store.load(
        list(cues.values()), load_documents() if cues is CUES else _documents(), ColourEncoder()
    )


def _documents():
    from telltale.cues import Document

    text = {"en": "x", "ko": "가"}
    return {"d": Document(doc_id="d", authors="a", title="t", year=2020, source="s", supports=text)}


def test_as_many_counter_cues_as_cues_and_no_more_than_the_policy_allows(store) -> None:
    load(store, CUES)
    found = answer(retrieve(store)).retrieval.candidates
    sides = [c.polarity for c in found]
    assert sides.count("artifact") == sides.count("natural") > 0
    assert len(sides) <= PolicyFile().current().candidates


def test_balance_holds_where_one_side_has_fewer_different_cues(store) -> None:
    # every artifact sentence is red, and each region is nearest to another's natural sentence
    cues = {c.cue_id: c for c in (cue("eyes.a", "red", "green"), cue("light.b", "red", "blue"))}
    load(store, cues)
    sides = [c.polarity for c in answer(retrieve(store, cues)).retrieval.candidates]
    assert sides.count("artifact") == sides.count("natural")


def test_a_cue_is_asked_about_only_where_it_can_be_seen(store) -> None:
    load(store, CUES)
    types = {r.region_id: r.type for r in DETECTED.detection.regions}
    for found in answer(retrieve(store)).retrieval.candidates:
        assert types[found.region_id] in WHERE[CUES[found.cue_id].region]


def test_candidates_carry_their_sources_and_the_nearest_known_examples(store) -> None:
    load(store, CUES)
    rows = [
        (f"{t}{n}", t, None, bool(n), np.eye(3, dtype=np.float32)[n])
        for t in ("eye", "face", "image")
        for n in range(3)
    ]
    store.put_exemplars(ColourEncoder.revision, rows)
    types = {r.region_id: r.type for r in DETECTED.detection.regions}
    for found in answer(retrieve(store)).retrieval.candidates:
        assert found.documents == CUES[found.cue_id].documents
        assert len(found.exemplars) == 2
        assert all(e.startswith(types[found.region_id]) for e in found.exemplars)


def test_the_same_picture_and_corpus_give_the_same_bytes_nearest_first(store) -> None:
    load(store, CUES)
    first, second = (answer(retrieve(store)) for _ in range(2))
    assert value_bytes(first) == value_bytes(second)
    near = [c.similarity for c in first.retrieval.candidates]
    assert near == sorted(near, reverse=True)


def test_cached_embeddings_are_used_and_lost_ones_are_made_again(store) -> None:
    load(store, CUES)
    cache, reader = MemoryCache(), Reader()
    stage = retrieve(store, cache=cache, reader=reader)
    first = answer(stage)
    made = reader.asked
    assert made > 0
    assert answer(stage) == first
    assert reader.asked == made
    cache.vectors.clear()
    assert answer(stage) == first
    assert reader.asked > made


def test_the_corpus_is_named_and_changes_with_what_it_says(store) -> None:
    load(store, CUES)
    before = answer(retrieve(store)).retrieval.corpus
    fewer = dict(list(CUES.items())[:-1])
    from telltale.cues import load_documents

    store.load(list(fewer.values()), load_documents(), ColourEncoder())
    assert answer(retrieve(store)).retrieval.corpus != before


def test_a_picture_without_regions_asks_nothing(store) -> None:
    load(store, CUES)
    empty = DETECTED.model_copy(
        update={"detection": Detection(regions=(), faces_found=0, detector="d", encoder="e")}
    )
    assert answer(retrieve(store), empty).retrieval.candidates == ()


def test_what_similarity_can_check_is_asked_about_first_the_likeliest_of_either_side(store) -> None:
    load(store, CUES)
    nearest = {c.cue_id for c in answer(retrieve(store)).retrieval.candidates}
    here = {r for r, types in WHERE.items() if types[0] == "image" or "eye" in types}
    far = sorted(c for c, known in CUES.items() if known.region in here and c not in nearest)[:2]
    found = answer(retrieve(store, fitted=calibration(far))).retrieval.candidates
    assert set(far) <= {c.cue_id for c in found}
    assert len(found) == PolicyFile().current().candidates
