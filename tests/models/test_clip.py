"""The encoder: shipped weights, hub architectures from disk, and what it says when they are away."""

import socket
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from scipy.fft import dctn

from telltale.cues import LANGUAGES, SIDES, load_cues, sentences
from telltale.errors import UsageError, WeightsMissing
from telltale.models.clip import (
    TOKENIZER_FOLDER,
    WEIGHTS_FILE,
    load_encoder,
    load_mini,
    load_standard,
    mini_folder,
    tokenizer_of,
)
from telltale.models.dct_stem import STRIDE_PX, DctStem
from telltale.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from tiny_encoder import TINY, save_encoder


@pytest.fixture(scope="module")
def mini():
    return load_mini()


def _crops(count, size, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def test_images_and_sentences_become_unit_rows_of_one_width(mini):
    images = mini.encode_images(_crops(3, mini.size_px))
    texts = mini.encode_texts(["the iris is a clean circle", "홍채가 깔끔한 원을 이룬다"])
    assert images.shape == (3, 512) == (3, mini.dim)
    assert texts.shape == (2, 512)
    for rows in (images, texts):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_nothing_in_gives_no_rows(mini):
    assert mini.encode_images([]).shape == (0, 512)
    assert mini.encode_texts([]).shape == (0, 512)


def test_a_batch_gives_what_each_crop_gives_alone_and_again(mini):
    crops = _crops(5, mini.size_px)
    together = mini.encode_images(crops)
    alone = np.concatenate([mini.encode_images([c]) for c in crops])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_array_equal(together, mini.encode_images(crops))


def test_the_shipped_encoder_loads_with_no_network(monkeypatch):
    def refused(*_):
        raise AssertionError("the mini encoder opened a connection")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refused)
    encoder = load_encoder(Settings(profile="mini", device="cpu"))
    assert encoder.encode_texts(["skin like plastic"]).shape == (1, 512)
    assert encoder.revision.startswith("mini-")


def test_the_shipped_encoder_is_small_and_has_patches(mini):
    assert (mini_folder() / WEIGHTS_FILE).stat().st_size < 18e6
    assert sum(p.numel() for p in mini.visual.parameters()) < 8e6
    assert mini.grid == (8, 8)
    assert mini.logit_scale > 1


def test_the_two_sides_of_every_cue_are_told_apart(mini):
    for cue in load_cues():
        artifact, natural = mini.encode_texts([cue.artifact.en, cue.natural.en])
        assert artifact @ natural < 0.999, cue.cue_id


def test_gradients_reach_the_picture_only_when_asked_for(mini):
    pictures = mini.preprocess(_crops(1, mini.size_px)).requires_grad_(True)
    assert not mini.image_features(pictures).requires_grad
    mini.image_features(pictures, grad=True)[0, 0].backward()
    assert float(pictures.grad.abs().sum()) > 0


def test_a_crop_of_another_size_is_refused_in_words(mini):
    with pytest.raises(UsageError, match=r"64x64x3.*128x128x3.*telltale.regions.crop"):
        mini.encode_images(_crops(1, 64))


def test_the_stem_reads_the_dct_of_each_block():
    stem = DctStem(192)
    crop = _crops(1, 128)[0].astype(np.float32) / 127.5 - 1
    pictures = torch.from_numpy(crop).permute(2, 0, 1)[None]
    found = stem.coefficients(pictures)[0].numpy()
    luma = crop @ np.array([0.299, 0.587, 0.114])
    row, column = 3, 17
    y, x = row * STRIDE_PX - 2, column * STRIDE_PX - 2  # two pixels of mirrored rim
    expected = dctn(luma[y : y + 8, x : x + 8], norm="ortho").ravel()
    np.testing.assert_allclose(found[:64, row, column], expected, atol=1e-4)
    assert stem(pictures).shape == (1, 192, 8, 8)


def test_a_flat_picture_has_no_frequencies():
    grey = torch.zeros(1, 3, 128, 128) + 0.25
    coefficients = DctStem(192).coefficients(grey)
    assert float(coefficients[:, 1:].abs().max()) < 1e-5


def test_every_cue_sentence_fits_the_tokenizer_in_both_languages():
    tokenizer = tokenizer_of(mini_folder() / TOKENIZER_FOLDER, 48)
    for cue in load_cues():
        for language in LANGUAGES:
            for side in SIDES:
                for sentence in sentences(cue, side, language):
                    tokens = tokenizer([sentence])[0]
                    assert tokens[0] == 1, sentence
                    assert 2 in tokens.tolist(), f"cut off: {sentence}"


def test_the_tokenizer_gives_text_and_json_back_as_they_were():
    tokenizer = tokenizer_of(mini_folder() / TOKENIZER_FOLDER, 48).tokenizer
    claim = (
        '{"cue_id": "iris.irregular_outline", "confidence": 0.85, "sentence": "홍채가 번졌다 ㅎ"}'
    )
    ids = tokenizer(claim, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == claim
    named = ["<pad>", "<bos>", "<eos>", "<image>"]
    assert tokenizer.convert_tokens_to_ids(named) == [0, 1, 2, 3]
    assert len(tokenizer("<image>", add_special_tokens=False).input_ids) == 1


def test_a_model_of_open_clip_loads_from_a_folder(tmp_path):
    model = save_encoder(tmp_path / "tiny").eval()
    encoder = load_standard(f"local-dir:{tmp_path / 'tiny'}", "")
    assert (encoder.size_px, encoder.dim, encoder.grid) == (32, 32, (4, 4))
    crops = _crops(2, 32)
    with torch.no_grad():
        expected = model.encode_image(encoder.preprocess(crops), normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_images(crops), expected, atol=1e-5)
    assert encoder.encode_texts(["an eye"]).shape == (1, 32)


def test_a_plain_folder_is_as_good_as_local_dir(tmp_path):
    save_encoder(tmp_path / "tiny")
    encoder = load_standard(str(tmp_path / "tiny"), "laion2b_s34b_b79k", allow_download=False)
    named = load_standard(f"local-dir:{tmp_path / 'tiny'}", "")
    assert encoder.revision.split("@") == [str(tmp_path / "tiny"), named.revision.split("@")[1]]


def test_a_folder_without_weights_is_no_encoder_that_learned_nothing(tmp_path):
    save_encoder(tmp_path / "tiny")
    (tmp_path / "tiny" / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match="tiny"):
        load_standard(str(tmp_path / "tiny"), "")


def test_a_hub_model_is_taken_from_the_weights_folder_first(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    save_encoder(tmp_path / "owner--tiny")
    settings = Settings(
        profile="standard", encoder_model="hf-hub:owner/tiny", weights_dir=tmp_path, device="cpu"
    )
    encoder = load_encoder(settings)
    assert encoder.dim == 32
    assert encoder.revision.startswith("hf-hub:owner/tiny@")


def test_other_weights_are_another_revision(tmp_path):
    save_encoder(tmp_path / "one")
    first = load_standard(f"local-dir:{tmp_path / 'one'}", "").revision.split("@")[1]
    again = load_standard(f"local-dir:{tmp_path / 'one'}", "").revision.split("@")[1]
    changed = open_clip.CLIP(**TINY)
    save_file(changed.state_dict(), tmp_path / "one" / "open_clip_model.safetensors")
    other = load_standard(f"local-dir:{tmp_path / 'one'}", "").revision.split("@")[1]
    assert first == again != other


@pytest.mark.parametrize("model", ["local-dir:{0}/nowhere", "hf-hub:owner/absent"])
def test_missing_weights_name_the_model_the_folder_and_the_way_out(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wanted = model.format(tmp_path)
    with pytest.raises(WeightsMissing) as raised:
        load_standard(wanted, "", tmp_path)
    said = str(raised.value)
    assert wanted in said
    assert str(tmp_path) in said
    assert "mini profile" in said


def test_a_mini_folder_without_weights_says_how_to_get_them(tmp_path):
    with pytest.raises(WeightsMissing, match="telltale lab train encoder"):
        load_mini(tmp_path)
