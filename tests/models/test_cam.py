"""Saliency maps: what they answer to, and that one which says nothing is not drawn as something."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
import torch

from telltale.errors import UsageError
from telltale.models.cam import METHODS, ClipExplainer
from telltale.models.cam.rollout import rollout
from telltale.models.cam.text import gradient_text
from telltale.models.cam.tower import tower_of_own
from telltale.models.clip import ClipEncoder

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def encoder(seed: int = 0) -> ClipEncoder:
    """An untrained model of CLIP's own architecture: enough for what maps must obey."""
    torch.manual_seed(seed)
    return ClipEncoder(
        open_clip.CLIP(**TINY),
        open_clip.get_tokenizer("ViT-B-32"),
        name="tiny",
        revision="tiny",
        device="cpu",
    )


@pytest.fixture(scope="module")
def tiny() -> ClipEncoder:
    return encoder()


@pytest.fixture(scope="module")
def window() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)


def direction(tiny: ClipEncoder) -> torch.Tensor:
    a, b = tiny.encode_texts(["waxy skin", "skin with pores"])
    return torch.from_numpy((a - b)[None])


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_map_covers_the_crop_and_is_the_same_each_time(tiny, window, method: str) -> None:
    once, again = (
        ClipExplainer(tiny).explain(window, ["waxy skin"], ["pores"], method) for _ in range(2)
    )
    assert once.heat.shape == (64, 64)
    assert 0 <= once.heat.min() <= once.heat.max() <= 1
    assert np.array_equal(once.heat, again.heat)
    assert once.rise == again.rise


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_sentence_that_is_its_own_opposite_says_nothing(tiny, window, method: str) -> None:
    same = ClipExplainer(tiny).explain(window, ["waxy skin"], ["waxy skin"], method)
    assert not same.informative


def test_the_text_map_turns_round_with_the_claim(tiny, window) -> None:
    pictures = tiny.preprocess([window])
    there = gradient_text(tiny.visual, pictures.clone(), direction(tiny))
    back = gradient_text(tiny.visual, pictures.clone(), -direction(tiny))
    np.testing.assert_allclose(there, -back, atol=1e-6)
    assert np.abs(there).max() > 0


def test_rollout_is_blind_to_the_text(tiny, window) -> None:
    pictures = tiny.preprocess([window])
    there = rollout(tiny.visual, pictures, direction(tiny))
    np.testing.assert_array_equal(there, rollout(tiny.visual, pictures, -direction(tiny)))
    # attention of a token sums to one, and what does not go to patches goes to the class token
    assert 0 < there.sum() < 1


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"rollout"}))
def test_other_weights_give_another_map(tiny, window, method: str) -> None:
    ours = ClipExplainer(tiny).explain(window, ["waxy skin"], ["pores"], method).heat
    other = ClipExplainer(encoder(1)).explain(window, ["waxy skin"], ["pores"], method).heat
    assert np.corrcoef(ours.ravel(), other.ravel())[0, 1] < 0.9


def test_an_unknown_method_is_named(tiny, window) -> None:
    with pytest.raises(UsageError, match="crystal"):
        ClipExplainer(tiny).explain(window, ["a"], ["b"], "crystal")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_maps_are_drawn_while_another_thread_encodes(tiny, window, method: str) -> None:
    alone = tiny.encode_images([window, window])
    explainer = ClipExplainer(tiny)
    drawn = explainer.explain(window, ["waxy skin"], ["pores"], method)
    done = threading.Event()

    def encode() -> list[np.ndarray]:
        found = []
        while not done.is_set():
            found.append(tiny.encode_images([window, window]))
        return found

    with ThreadPoolExecutor(1) as other:
        encoding = other.submit(encode)
        try:
            maps = [explainer.explain(window, ["waxy skin"], ["pores"], method) for _ in range(30)]
        finally:
            done.set()
        assert all(np.array_equal(alone, rows) for rows in encoding.result())
    assert all(np.array_equal(drawn.heat, again.heat) for again in maps)


def test_the_tower_of_the_maps_holds_no_weights_of_its_own(tiny) -> None:
    own = tower_of_own(tiny.visual)
    assert own is not tiny.visual
    theirs = {id(p) for p in tiny.visual.parameters()}
    assert {id(p) for p in own.parameters()} == theirs
