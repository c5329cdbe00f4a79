"""Image and text embeddings by open_clip: the mini encoder of the package, or any hub model.

In: square crops (``size_px`` x ``size_px`` x 3 uint8) and sentences. Out: n x dim float32 rows of
length 1. Raises ``WeightsMissing`` where weights are neither in the folder looked in nor to be
had from the hub, ``UsageError`` for crops of another size.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import load_file
from torch import nn

from telltale.errors import UsageError, WeightsMissing
from telltale.models import Embeddings
from telltale.models.dct_stem import DctStem
from telltale.models.devices import chosen_device
from telltale.models.hub import HUB_ERRORS, cache_folder, unasked
from telltale.regions import Pixels
from telltale.settings import Settings
from telltale.tally import at_work

CONFIG_FILE = "encoder.json"
WEIGHTS_FILE = "encoder.safetensors"
TOKENIZER_FOLDER = "tokenizer"
CONFIG_OF_OPEN_CLIP = "open_clip_config.json"
OFFLINE = "choose the mini profile, which ships its weights, or put the files there"
BATCH = 64
TEXTS_KEPT = 256


def mini_folder() -> Path:
    """Where the package keeps the mini weights."""
    return Path(str(resources.files("telltale") / "data" / "weights" / "mini"))


class ClipEncoder:
    """One open_clip model, in evaluation mode, with its preprocessing and tokenizer.

    ``model`` is the open_clip module and ``visual`` its image tower, for the explainers.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, *, name: str, revision: str, device: str
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False).to(device)
        self.name, self.revision, self.device = name, revision, device
        self._tokenizer = tokenizer
        self._tokenizing = threading.Lock()  # its padding may be set by one thread at a time
        visual: Any = self.model.visual
        size = visual.image_size
        self.size_px: int = int(size if isinstance(size, int) else size[0])
        config = getattr(visual, "preprocess_cfg", {})
        mean = config.get("mean", open_clip.OPENAI_DATASET_MEAN)
        std = config.get("std", open_clip.OPENAI_DATASET_STD)
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)
        # the sentences of a cue are asked for again with every picture
        self._encoded = lru_cache(maxsize=TEXTS_KEPT)(self._encode)
        with torch.inference_mode():
            self.dim = int(self._text_features(["one"]).shape[1])

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        tower: nn.Module = self.model.visual
        return tower

    @property
    def logit_scale(self) -> float:
        """The factor that turns cosines into logits."""
        return float(self.model.logit_scale.exp())

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches. Raises ``UsageError`` for a tower without a patch grid."""
        grid = getattr(self.model.visual, "grid_size", None)
        if grid is None:
            raise UsageError(f"the image tower of {self.name} has no patch grid; choose a ViT")
        return int(grid[0]), int(grid[1])

    def preprocess(self, crops: Sequence[Pixels]) -> torch.Tensor:
        """Normalised pictures, n x 3 x size x size float32 on the device."""
        for crop in crops:
            if crop.shape != (self.size_px, self.size_px, 3):
                raise UsageError(
                    f"a crop is {'x'.join(map(str, crop.shape))}, {self.name} takes "
                    f"{self.size_px}x{self.size_px}x3: cut it with telltale.regions.crop"
                )
        stacked = torch.from_numpy(np.stack(crops)).to(self.device)
        return (stacked.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def image_features(self, pictures: torch.Tensor, grad: bool = False) -> torch.Tensor:
        """n x dim rows of length 1; with ``grad``, gradients flow back to ``pictures``."""
        with torch.set_grad_enabled(grad):
            features: torch.Tensor = self.model.encode_image(pictures, normalize=True)
        return features

    def encode_images(self, crops: Sequence[Pixels]) -> Embeddings:
        """len(crops) x dim float32, each row of length 1, in order."""
        rows = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(crops), BATCH):
            with at_work("encoder", self.device):
                pictures = self.preprocess(crops[start : start + BATCH])
                rows.append(self.image_features(pictures).float().cpu().numpy())
        return np.concatenate(rows)

    def encode_texts(self, sentences: Sequence[str]) -> Embeddings:
        """len(sentences) x dim float32, each row of length 1, in order. Read-only: kept for the next."""
        return self._encoded(tuple(sentences))

    def _encode(self, sentences: tuple[str, ...]) -> Embeddings:
        rows = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(sentences), BATCH):
            with torch.inference_mode(), at_work("encoder", self.device):
                part = self._text_features(list(sentences[start : start + BATCH]))
                rows.append(part.float().cpu().numpy())
        found: Embeddings = np.concatenate(rows)
        found.setflags(write=False)
        return found

    def _text_features(self, sentences: list[str]) -> torch.Tensor:
        with self._tokenizing:
            tokens = self._tokenizer(sentences).to(self.device)
        features: torch.Tensor = self.model.encode_text(tokens, normalize=True)
        return features


def load_encoder(settings: Settings) -> ClipEncoder:
    """The encoder that the settings choose. Raises ``WeightsMissing``."""
    device = chosen_device(settings.device)
    if settings.profile == "mini":
        return load_mini(device=device)
    return load_standard(
        settings.encoder_model, settings.encoder_weights, settings.weights_dir, device,
        settings.allow_download,
    )  # fmt: skip


def build_mini(config: dict[str, Any]) -> nn.Module:
    """An untrained model of an ``encoder.json``: open_clip's CLIP whose patch layer is the stem."""
    model: Any = open_clip.CLIP(**config["model_cfg"])
    model.visual.conv1 = DctStem(config["model_cfg"]["vision_cfg"]["width"])
    model.visual.preprocess_cfg = config["preprocess_cfg"]
    built: nn.Module = model
    return built


def tokenizer_of(folder: Path, context_length: int) -> Any:
    """The byte-level BPE tokenizer of a weights folder, through open_clip's own class."""
    return HFTokenizer(str(folder), context_length=context_length, clean="canonicalize")


def load_mini(folder: Path | None = None, device: str = "cpu") -> ClipEncoder:
    """The encoder of the package, or of another folder of the same layout; needs no network.

    Raises ``WeightsMissing`` where a file is missing.
    """
    where = folder or mini_folder()
    for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FOLDER):
        if not (where / name).exists():
            raise WeightsMissing(
                f"the mini encoder ({name})", str(where),
                "reinstall the package or train them: telltale lab train encoder",
            )  # fmt: skip
    config = json.loads((where / CONFIG_FILE).read_text(encoding="utf-8"))
    model = build_mini(config)
    weights = load_file(where / WEIGHTS_FILE)
    model.load_state_dict({k: v.float() for k, v in weights.items()})
    length = int(config["model_cfg"]["text_cfg"]["context_length"])
    tokenizer = tokenizer_of(where / TOKENIZER_FOLDER, length)
    revision = f"mini-{digest(where / WEIGHTS_FILE)}"
    return ClipEncoder(model, tokenizer, name="mini encoder", revision=revision, device=device)


def load_standard(
    model: str,
    weights: str,
    weights_dir: Path | None = None,
    device: str = "cpu",
    allow_download: bool = True,
) -> ClipEncoder:
    """An open_clip model by name (``ViT-B-32``), a folder, ``hf-hub:...`` or ``local-dir:...``.

    ``weights`` is a pretrained tag of that name or a file. A folder holds an
    ``open_clip_config.json``; a subfolder of ``weights_dir`` named like the model ('/' as '--',
    without ``hf-hub:``) that does is used before the hub is asked, which without
    ``allow_download`` it never is: its local cache is read. Raises ``WeightsMissing``.
    """
    name, looked_in = _found(model, weights_dir)
    schema = name.startswith(("hf-hub:", "local-dir:"))
    tag = None if schema else weights
    if name.startswith("local-dir:") and not Path(name.removeprefix("local-dir:")).is_dir():
        raise WeightsMissing(model, looked_in, OFFLINE)
    if tag is not None and weights_dir is not None and (weights_dir / tag).is_file():
        tag = str(weights_dir / tag)
    try:
        with unasked(not allow_download):
            # without weights open_clip would go on with a model that has learned nothing
            built, _, _ = open_clip.create_model_and_transforms(
                name, pretrained=tag, device=device, require_pretrained=True
            )
            tokenizer = open_clip.get_tokenizer(name)
    except HUB_ERRORS as error:
        what = model if schema else f"{model} ({weights})"
        why = shorten(str(error), 200)
        raise WeightsMissing(what, looked_in, f"{OFFLINE} ({why})") from error
    revision = f"{model}@{_state_digest(built)}"
    return ClipEncoder(built, tokenizer, name=model, revision=revision, device=device)


def digest(path: Path) -> str:
    """The first 16 hex digits of a file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _found(model: str, weights_dir: Path | None) -> tuple[str, str]:
    """The name to give to open_clip, and where weights were looked for."""
    if model.startswith("local-dir:"):
        return model, model.removeprefix("local-dir:")
    if (Path(model) / CONFIG_OF_OPEN_CLIP).is_file():
        return f"local-dir:{model}", model
    hub = cache_folder()
    if weights_dir is None:
        return model, str(hub)
    local = weights_dir / model.removeprefix("hf-hub:").replace("/", "--")
    if (local / CONFIG_OF_OPEN_CLIP).is_file():
        return f"local-dir:{local}", str(local)
    return model, f"{local} or {hub}"


def _state_digest(model: nn.Module) -> str:
    """A digest of the weights themselves: where they came from does not matter."""
    sha = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        sha.update(name.encode())
        sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]
