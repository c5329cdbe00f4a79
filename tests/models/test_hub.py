"""Models by their ids: from the hub's local cache as it lies on disk, and never from a host unasked."""

import hashlib
import shutil
import socket
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from telltale.errors import WeightsMissing
from telltale.models.clip import TOKENIZER_FOLDER, load_encoder, mini_folder
from telltale.models.hub import unasked
from telltale.models.lmm import load_judge
from telltale.models.yolo import load_detector, mini_weights
from telltale.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from tiny_detector import save_detector
from tiny_encoder import save_encoder
from tiny_judges import save_llava

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOADERS = {"encoder": load_encoder, "judge": load_judge, "detector": load_detector}
ABSENT = {
    "encoder": ("hf-hub:owner/absent", {"encoder_model": "hf-hub:owner/absent"}),
    "judge": ("owner/absent", {"judge_model": "owner/absent"}),
    "detector": ("owner/absent/face.pt", {"detector_weights": ("owner/absent/face.pt",)}),
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's, for a process that may ask hosts."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def opened(monkeypatch):
    """The sockets and look-ups of hosts that were tried; none gets anywhere."""
    tried = []

    def refused(*given, **_):
        tried.append(given)
        raise OSError("there is no network in this test")

    monkeypatch.setattr(socket.socket, "__init__", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return tried


def keep(cache, repository, folder):
    """Lay the files of a folder into the cache as huggingface_hub does: blobs, and links by commit."""
    top = cache / f"models--{repository.replace('/', '--')}"
    for made in ("refs", "blobs"):
        (top / made).mkdir(parents=True)
    (top / "refs" / "main").write_text(COMMIT)
    for path in (p for p in folder.rglob("*") if p.is_file()):
        blob = top / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        link = top / "snapshots" / COMMIT / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(blob)


def given(**options):
    return Settings(profile="standard", device="cpu", allow_download=False, **options)


def test_an_encoder_and_its_tokenizer_load_by_their_ids_and_no_socket_is_opened(
    cache, tmp_path, opened
):
    save_encoder(tmp_path / "tiny", hf_tokenizer_name="owner/words")
    keep(cache, "owner/tiny", tmp_path / "tiny")
    words = shutil.copytree(mini_folder() / TOKENIZER_FOLDER, tmp_path / "words")
    (words / "config.json").write_text("{}")
    keep(cache, "owner/words", words)
    encoder = load_encoder(given(encoder_model="hf-hub:owner/tiny"))
    assert encoder.encode_texts(["an eye"]).shape == (1, 32)
    assert encoder.revision.startswith("hf-hub:owner/tiny@")
    assert opened == []


def test_a_judge_loads_by_its_id_and_no_socket_is_opened(cache, tmp_path, opened):
    save_llava(tmp_path / "tiny")
    keep(cache, "owner/tiny", tmp_path / "tiny")
    assert load_judge(given(judge_model="owner/tiny")).revision == f"owner/tiny@{COMMIT}"
    assert opened == []


def test_detectors_load_by_their_ids_and_no_socket_is_opened(cache, tmp_path, opened):
    made = tmp_path / "repository"
    (made / "faces").mkdir(parents=True)
    save_detector(made / "faces" / "nano.pt", ["face"])
    for suffix in (".safetensors", ".json"):
        shutil.copy(mini_weights().with_suffix(suffix), made / f"parts{suffix}")
    keep(cache, "owner/yolo", made)
    named = ("owner/yolo/faces/nano.pt", "owner/yolo/parts.safetensors")
    detector = load_detector(given(detector_weights=named))
    assert [r.split("-")[0] for r in detector.revision.split("+")] == ["nano", "parts"]
    assert opened == []


def test_a_detector_of_the_weights_folder_comes_before_the_hub(cache, tmp_path, opened):
    (tmp_path / "owner--yolo").mkdir()
    save_detector(tmp_path / "owner--yolo" / "face.pt", ["face"])
    options = {"weights_dir": tmp_path, "detector_weights": ("owner/yolo/face.pt",)}
    assert load_detector(given(**options)).revision.startswith("face-")
    assert opened == []


@pytest.mark.parametrize("folder", [None, "weights"])
@pytest.mark.parametrize("part", LOADERS)
def test_what_is_missing_is_named_with_the_folders_and_the_way_out_and_no_socket_is_opened(
    part, folder, cache, tmp_path, opened
):
    name, options = ABSENT[part]
    with pytest.raises(WeightsMissing) as raised:
        LOADERS[part](given(weights_dir=folder and tmp_path / folder, **options))
    said = str(raised.value)
    assert name in said
    assert str(cache) in said
    assert folder is None or str(tmp_path / folder / "owner--absent") in said
    assert "mini" in said
    assert opened == []


@pytest.mark.parametrize("part", LOADERS)
def test_where_it_is_allowed_a_host_is_asked(part, cache, opened):
    settings = Settings(profile="standard", device="cpu", **ABSENT[part][1])
    with pytest.raises(WeightsMissing):
        LOADERS[part](settings)
    assert opened


def test_after_loading_the_hub_may_be_asked_as_before(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with unasked(), unasked(False):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
