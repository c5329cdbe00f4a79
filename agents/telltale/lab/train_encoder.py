"""Train the mini encoder: contrastive on region crops and cue sentences, from scratch.

In: photographs with landmarks, an output folder, a seed, steps; a GPU is used where there is one.
Out: in that folder a cache of crops, a checkpoint, a curve (CSV) and the weights in the package's
layout (``export``). A run that was cut off goes on from its checkpoint. Raises ``LookupError`` for a folder without usable
photographs, ``UsageError`` for a checkpoint of another configuration.

What is learned from a batch is in ``encoder_learner``.
"""

from __future__ import annotations

import json
import math
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

from telltale.cues import Cue, load_cues, load_documents
from telltale.errors import UsageError
from telltale.lab.crop_cache import Cache, build
from telltale.lab.crops import KINDS, TRAINED
from telltale.lab.curves import CURVE, append
from telltale.lab.encoder_labels import Labels, labels_for
from telltale.lab.encoder_learner import (
    CONFIG,
    CONTEXT,
    Learner,
    Sentences,
    losses,
    pictures_of,
)
from telltale.lab.encoder_scores import evaluate
from telltale.lab.encoder_text import train_tokenizer
from telltale.lab.sharing import Told, silent
from telltale.models.clip import (
    CONFIG_FILE,
    TOKENIZER_FOLDER,
    WEIGHTS_FILE,
    mini_folder,
    tokenizer_of,
)
from telltale.models.devices import chosen_device

__all__ = ["Run", "draw_rows", "evaluate", "export", "ship", "train"]

PAIRS, GPU_PAIRS = 32, 128
"""Pairs a step on a CPU and on a GPU."""
LEARNING_RATE, MOST_RATE = 1e-3, 1.5e-3
"""Of steps of PAIRS, and of much larger ones: it grows with the root of the batch."""
WARM_STEPS = 200
EASY = 0.15
"""Share of the run that sees plain edits only."""
DECAY_FROM = 0.7
EMA = 0.998
SAVE_EVERY = 250
SHARDS = 48
STEPS = 6000
"""Of PAIRS: about ninety minutes of one core."""


def train(
    faces: Path,
    out: Path,
    seed: int = 1,
    minutes: float | None = None,
    resume: bool = True,
    steps: int = STEPS,
    shards: int = SHARDS,
    twins: int = 256,
    batch: int | None = None,
    told: Told = silent,
) -> Path:
    """Train until ``steps`` in all, over resumed runs, and export; returns the weights' folder.

    A step is of ``batch`` pairs; unset means PAIRS, on a GPU GPU_PAIRS.

    Stops early after ``minutes`` of this run's steps, to go on another time; the schedule follows the steps,
    so that the same seed and cache give the same weights however fast the machine is. Shards that
    the cache lacks are drawn first. ``told`` hears of shards and of steps.
    """
    build(faces, out / "cache", seed, range(shards), twins, told)
    cache = Cache(out / "cache")
    cues = load_cues()
    weights = out / "weights"
    if not (weights / TOKENIZER_FOLDER).exists():
        weights.mkdir(parents=True, exist_ok=True)
        train_tokenizer(cues, list(load_documents().values()), weights / TOKENIZER_FOLDER)
    run = Run(cues, tokenizer_of(weights / TOKENIZER_FOLDER, CONTEXT), out, seed, batch)
    if not (resume and run.resume()):
        sample = cache.rows(range(min(512, len(cache)))).crops[:, 0]
        run.learner.clip.visual.conv1.calibrate(pictures_of(sample, run.device))
        run.start()
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    told("encoder", run.steps, steps)
    while run.steps < steps and time.monotonic() < until:
        run.step(cache, run.steps / steps)
        told("encoder", run.steps, steps)
        if run.steps % SAVE_EVERY == 0:
            run.save()
            export(run.ema, weights)
    run.save()
    export(run.ema, weights)
    return weights


class Run:
    """One training with all that a checkpoint must hold."""

    def __init__(
        self, cues: Sequence[Cue], tokenizer: Any, out: Path, seed: int, batch: int | None = None
    ) -> None:
        torch.manual_seed(seed)
        self.device = chosen_device("auto")
        self.pairs = batch or (GPU_PAIRS if self.device == "cuda" else PAIRS)
        self.learner = Learner(len(cues)).to(self.device)
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
            group["lr"] = min(MOST_RATE, LEARNING_RATE * (self.pairs / PAIRS) ** 0.5) * rate
        hard = self.learner.kind_loss.cpu().numpy()
        rows = cache.rows(draw_rows(cache, self.rng, self.pairs, progress < EASY, hard))
        found = losses(self.learner, self.labels, self.sentences, rows, self.rng)
        total = torch.stack(list(found.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        self._average()
        self.elapsed_s += time.monotonic() - began
        self._log({k: float(v.detach()) for k, v in found.items()})

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
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["config"] != json.dumps(CONFIG):
            raise UsageError(f"{path} is of another configuration; train in another folder")
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.steps, self.elapsed_s = state["ema"], state["steps"], state["elapsed_s"]
        self.rng.bit_generator.state = json.loads(state["rng"])
        return True

    def _average(self) -> None:
        keep = min(EMA, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.learner.clip.state_dict().items():
                self.ema[name].lerp_(value, 1 - keep)

    def _log(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            self._mean[name] = 0.98 * self._mean.get(name, value) + 0.02 * value
        if self.steps % 50 == 0:
            head = {"step": self.steps, "seconds": self.elapsed_s}
            append(self.out / CURVE, head | self._mean)


def export(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write ``encoder.safetensors`` (half precision) and ``encoder.json`` to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {k: v.detach().half().cpu().contiguous() for k, v in weights.items()}
    save_file(half, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(0o644)  # the library writes for the owner alone
    text = json.dumps(CONFIG, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def ship(weights: Path) -> None:
    """Copy an exported folder into the package."""
    target = mini_folder()
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        shutil.copyfile(weights / name, target / name)
    shutil.copytree(weights / TOKENIZER_FOLDER, target / TOKENIZER_FOLDER, dirs_exist_ok=True)


def draw_rows(
    cache: Cache,
    rng: np.random.Generator,
    count: int,
    easy: bool,
    hard: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Row numbers, two in three of the cue's own region.

    Kinds (hence regions) are in balance; where ``hard`` is given, a weight a kind, every second
    pair is drawn by it instead, so that what is told already takes less of the time.
    """
    picked: list[int] = []
    numbers = np.array([KINDS.index(kind) for kind in TRAINED])
    kinds = rng.permutation(numbers)
    share = None if hard is None else hard[numbers].astype(np.float64)
    share = None if share is None else share / share.sum()
    for n in range(count):
        by_weight = share is not None and n % 2
        kind = int(rng.choice(numbers, p=share) if by_weight else kinds[n % len(kinds)])
        own = rng.random() < 0.67
        pool = cache.pool(kind, own, easy)
        picked.append(int(pool[int(rng.integers(len(pool)))]))
    return np.array(picked, np.int64)
