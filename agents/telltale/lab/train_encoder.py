"""Train the mini encoder: contrastive on region crops and cue sentences, from scratch.

In: photographs with landmarks, an output folder, a seed, minutes. Out: in that folder a cache of
crops, a checkpoint, a curve (CSV) and the weights in the package's layout (``export``). A run
that was cut off goes on from its checkpoint. Raises ``LookupError`` for a folder without usable
photographs, ``UsageError`` for a checkpoint of another configuration.

Losses: sigmoid contrastive over cue sentences of both sides and languages (Zhai et al., "Sigmoid
Loss for Language Image Pre-Training", ICCV 2023), edited against untouched and edited above its
own twin on the margin artifact minus natural, and the edit's mask on the patch tokens.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from telltale.cues import LANGUAGES, SIDES, Cue, load_cues, load_documents, sentences
from telltale.errors import UsageError
from telltale.lab.crops import KINDS, SIZE_PX, TRAINED, Cache, Rows, build
from telltale.lab.encoder_labels import Labels, labels_for
from telltale.lab.encoder_text import ENTRIES, train_tokenizer
from telltale.models.clip import (
    CONFIG_FILE,
    TOKENIZER_FOLDER,
    WEIGHTS_FILE,
    build_mini,
    mini_folder,
    tokenizer_of,
)

WIDTH = 192
CONTEXT = 48
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {
            "image_size": SIZE_PX,
            "patch_size": 16,
            "width": WIDTH,
            "layers": 4,
            "head_width": 64,
            "mlp_ratio": 2.0,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": ENTRIES,
            "width": 128,
            "heads": 4,
            "layers": 2,
            "pad_id": 0,
            "eos_id": 2,
            "pool_type": "eos",
        },
        "init_logit_scale": float(np.log(10.0)),
    },
    "preprocess_cfg": {"size": SIZE_PX, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "stem": "dct",
}
PAIRS = 32
CUES_PER_STEP = 28
LEARNING_RATE = 1e-3
WARM_STEPS = 200
EASY = 0.15
"""Share of the run that sees plain edits only."""
DECAY_FROM = 0.7
EMA = 0.998
SAVE_EVERY = 250
SHARDS = 100


class Learner(nn.Module):
    """The model and the heads that only training needs."""

    def __init__(self, cues: int) -> None:
        super().__init__()
        self.clip: Any = build_mini(CONFIG)
        self.patch_head = nn.Linear(WIDTH, 1)
        self.edited_head = nn.Linear(WIDTH, 1)
        self.cue_bias = nn.Parameter(torch.zeros(cues))
        self.bias = nn.Parameter(torch.tensor(-4.0))

    def see(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (n x dim, length 1), patch logits (n x 64), edited logits (n)."""
        visual = self.clip.visual
        tokens = visual._embeds(pictures)
        for block in visual.transformer.resblocks[:-1]:
            tokens = block(tokens)
        patches = self.patch_head(F.layer_norm(tokens[:, 1:], (WIDTH,)))[..., 0]
        pooled, _ = visual._pool(visual.transformer.resblocks[-1](tokens))
        return F.normalize(pooled @ visual.proj, dim=-1), patches, self.edited_head(pooled)[:, 0]

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Sentence features, n x dim, length 1; trailing padding is cut, as causal text allows."""
        clip = self.clip
        length = int((tokens != 0).sum(1).max())
        tokens = tokens[:, :length]
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        at = (tokens == CONFIG["model_cfg"]["text_cfg"]["eos_id"]).int().argmax(1)
        pooled = x[torch.arange(len(x)), at] @ clip.text_projection
        return F.normalize(pooled, dim=-1)


class Sentences:
    """The tokenised corpus: a random sentence of a cue and side at each call."""

    def __init__(self, cues: Sequence[Cue], tokenizer: Any) -> None:
        self._tokens = [
            [
                tokenizer([s for lang in LANGUAGES for s in sentences(cue, side, lang)])
                for side in SIDES
            ]
            for cue in cues
        ]

    def draw(self, cues: Sequence[int], rng: np.random.Generator) -> torch.Tensor:
        """2 x len(cues) rows: artifact sentences, then natural ones."""
        rows = []
        for side in range(2):
            for cue in cues:
                held = self._tokens[cue][side]
                rows.append(held[int(rng.integers(len(held)))])
        return torch.stack(rows)


def train(
    faces: Path,
    out: Path,
    seed: int = 1,
    minutes: float = 60.0,
    resume: bool = True,
    shards: int = SHARDS,
    twins: int = 256,
) -> Path:
    """Train for ``minutes`` in all (over resumed runs) and export; returns the weights' folder.

    Crops come from the cache in ``out``; what is missing of ``shards`` is made first, unless some
    are there already (another process may be filling it).
    """
    cache = _cache(faces, out, seed, shards, twins)
    cues = load_cues()
    weights = out / "weights"
    if not (weights / TOKENIZER_FOLDER).exists():
        weights.mkdir(parents=True, exist_ok=True)
        train_tokenizer(cues, list(load_documents().values()), weights / TOKENIZER_FOLDER)
    run = Run(cues, tokenizer_of(weights / TOKENIZER_FOLDER, CONTEXT), out, seed)
    if not (resume and run.resume()):
        run.learner.clip.visual.conv1.calibrate(pictures_of(cache.rows(range(min(512, len(cache)))).crops[:, 0]))  # fmt: skip
        run.start()
    while run.elapsed_s < 60 * minutes:
        run.step(cache, run.elapsed_s / (60 * minutes))
        if run.steps % SAVE_EVERY == 0:
            cache.refresh()
            run.save()
            run.export(weights)
    run.save()
    run.export(weights)
    return weights


class Run:
    """One training with all that a checkpoint must hold."""

    def __init__(self, cues: Sequence[Cue], tokenizer: Any, out: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.learner = Learner(len(cues))
        self.labels: Labels = labels_for(cues)
        self.sentences = Sentences(cues, tokenizer)
        self.rng = np.random.default_rng(seed)
        self.out, self.seed = out, seed
        self.steps, self.elapsed_s = 0, 0.0
        self._mean: dict[str, float] = {}
        decayed = [p for p in self.learner.parameters() if p.ndim >= 2]
        others = [p for p in self.learner.parameters() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": 0.05},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))
        self.ema: dict[str, torch.Tensor] = {}

    def start(self) -> None:
        """Begin the running mean of the weights, once the stem's buffers are set."""
        self.ema = {k: v.detach().clone() for k, v in self.learner.clip.state_dict().items()}

    def step(self, cache: Cache, progress: float) -> None:
        """One optimizer step; ``progress`` is the share of the run that is over, 0 to 1."""
        began = time.monotonic()
        rate = min(1.0, (self.steps + 1) / WARM_STEPS)
        rate *= min(1.0, max(0.02, (1 - progress) / (1 - DECAY_FROM)))
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        rows = cache.rows(draw_rows(cache, self.rng, PAIRS, easy=progress < EASY))
        losses = self.losses(rows)
        total = sum(losses.values(), torch.zeros(()))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        self._average()
        self.elapsed_s += time.monotonic() - began
        self._log({k: float(v.detach()) for k, v in losses.items()})

    def losses(self, rows: Rows) -> dict[str, torch.Tensor]:
        """The weighted losses of one batch of twins."""
        rng, labels, pairs = self.rng, self.labels, len(rows.kind)
        crops, masks = flipped(rows.crops, rows.masks, rng)
        pictures = pictures_of(np.concatenate([crops[:, 0], crops[:, 1]]))
        features, patches, edited = self.learner.see(pictures)

        target = torch.from_numpy(masks).float().div(255).view(pairs, 8, 2, 8, 2).amax((2, 4))
        target = torch.cat([torch.zeros(pairs, 64), target.flatten(1).gt(0.25).float()])
        shows = (masks.reshape(pairs, -1) > 64).any(1)
        state = np.concatenate([np.zeros(pairs, np.int64), np.where(shows, rows.kind + 1, 0)])

        own = labels.planted[rows.kind]
        listed = np.unique(own)
        others = np.setdiff1d(np.arange(len(labels.seen[0])), listed)
        more = rng.choice(others, max(0, CUES_PER_STEP - len(listed)), replace=False)
        asked = np.concatenate([listed, more])
        texts = self.learner.read(self.sentences.draw(asked.tolist(), rng))
        scale = self.learner.clip.logit_scale.exp().clamp(max=60.0)
        logits = scale * features @ texts.T

        types = np.concatenate([rows.type, rows.type])
        said = torch.from_numpy(labels.artifact[state, types][:, asked])
        sure = torch.from_numpy(labels.weight[state, types][:, asked])
        seen = torch.from_numpy(labels.seen[types][:, asked])
        truth = torch.cat([said, seen * (1 - said)], 1)
        both = F.binary_cross_entropy_with_logits(
            logits + self.learner.bias, truth, reduction="none"
        ) * torch.cat([sure, sure], 1)
        contrast = (both * truth).sum() / truth.sum().clamp_min(1)
        contrast = contrast + (both * (1 - truth)).sum() / (1 - truth).sum().clamp_min(1)

        column = torch.from_numpy(np.searchsorted(listed, own))
        count = len(asked)
        margins = logits[:, :count] - logits[:, count:]
        mine = margins.gather(1, torch.cat([column, column])[:, None])[:, 0]
        real, fake = mine[:pairs], mine[pairs:]
        bias = self.learner.cue_bias[torch.from_numpy(own)]
        valid = torch.from_numpy((rows.own & shows).astype(np.float32))
        binary = valid * (F.softplus(real + bias) + F.softplus(-(fake + bias)))
        ranked = valid * F.softplus(real - fake)
        touched = torch.from_numpy((state > 0).astype(np.float32))
        weight = 1 + 2 * target
        return {
            "contrast": 0.5 * contrast,
            "binary": binary.sum() / valid.sum().clamp_min(1),
            "rank": ranked.sum() / valid.sum().clamp_min(1),
            "mask": 2 * F.binary_cross_entropy_with_logits(patches, target, weight),
            "edited": 0.5 * F.binary_cross_entropy_with_logits(edited, touched),
        }

    def save(self) -> None:
        """Write the checkpoint, replacing the last in one move."""
        state = {
            "config": json.dumps(CONFIG),
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema,
            "steps": self.steps,
            "elapsed_s": self.elapsed_s,
            "rng": json.dumps(self.rng.bit_generator.state),
        }
        part = self.out / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.out / "checkpoint.pt")

    def resume(self) -> bool:
        """Take up the checkpoint in the folder; False where there is none."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        if state["config"] != json.dumps(CONFIG):
            raise UsageError(f"{path} is of another configuration; train in another folder")
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.steps, self.elapsed_s = state["ema"], state["steps"], state["elapsed_s"]
        self.rng.bit_generator.state = json.loads(state["rng"])
        return True

    def export(self, folder: Path) -> None:
        """Write the averaged weights beside the tokenizer; see ``export``."""
        export(self.ema, folder)

    def _average(self) -> None:
        keep = min(EMA, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.learner.clip.state_dict().items():
                self.ema[name].lerp_(value, 1 - keep)

    def _log(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self._mean[name] = 0.98 * self._mean.get(name, value) + 0.02 * value
        if self.steps % 50:
            return
        path = self.out / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", *self._mean])
            writer.writerow(
                [self.steps, round(self.elapsed_s, 1), *(round(v, 4) for v in self._mean.values())]
            )


def export(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write ``encoder.safetensors`` (half precision) and ``encoder.json`` to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {k: v.detach().half().contiguous() for k, v in weights.items()}
    save_file(half, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps(CONFIG, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def ship(weights: Path) -> None:
    """Copy an exported folder into the package."""
    target = mini_folder()
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        shutil.copyfile(weights / name, target / name)
    shutil.copytree(weights / TOKENIZER_FOLDER, target / TOKENIZER_FOLDER, dirs_exist_ok=True)


def draw_rows(cache: Cache, rng: np.random.Generator, count: int, easy: bool) -> NDArray[np.int64]:
    """Row numbers, kinds (hence regions) in balance, two in three of the cue's own region."""
    plain = cache.strength >= 0.99 if easy else np.ones(len(cache), bool)
    picked: list[int] = []
    kinds = rng.permutation(len(TRAINED))
    for n in range(count):
        kind = KINDS.index(TRAINED[kinds[n % len(kinds)]])
        own = rng.random() < 0.67
        pool = np.flatnonzero(plain & (cache.kind == kind) & (cache.own == own))
        if not len(pool):
            pool = np.flatnonzero(cache.kind == kind)
        if not len(pool):
            pool = np.arange(len(cache))
        picked.append(int(pool[int(rng.integers(len(pool)))]))
    return np.array(picked, np.int64)


def pictures_of(crops: NDArray[np.uint8]) -> torch.Tensor:
    """n x S x S x 3 uint8 to the encoder's input, n x 3 x S x S in -1..1."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def flipped(
    crops: NDArray[np.uint8], masks: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Half of the pairs mirrored, mask and all."""
    crops, masks = crops.copy(), masks.copy()
    for n in np.flatnonzero(rng.random(len(crops)) < 0.5):
        crops[n] = crops[n, :, :, ::-1]
        masks[n] = masks[n, :, ::-1]
    return crops, masks


def _cache(faces: Path, out: Path, seed: int, shards: int, twins: int) -> Cache:
    folder = out / "cache"
    cache = Cache(folder)
    if len(cache) < 2000:
        build(faces, folder, seed, shards, twins)
        cache.refresh()
    return cache
