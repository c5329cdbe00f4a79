"""Train the mini judge: a small language model learns to read the encoder's tower, from scratch.

In: photographs with landmarks, an output folder, a seed, steps, the weights of an encoder; a GPU is
used where there is one. Out:
in that folder twins, crops, features, a checkpoint, a curve (CSV) and the weights in the package's
layout. The tower is frozen, its features are computed once. A run that was cut off goes on; one
whose encoder has changed since computes the features anew and goes on. Raises ``LookupError`` for
a folder without usable photographs, ``WeightsMissing`` without an encoder.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from telltale.cues import load_cues
from telltale.errors import UsageError, WeightsMissing
from telltale.lab import crop_cache
from telltale.lab.curves import CURVE, append
from telltale.lab.judge_bank import Composer, scenes, seeing
from telltale.lab.judge_data import Corpus, Example, Scene, Writer
from telltale.lab.judge_loss import EMPHASIS, loss_of
from telltale.lab.judge_pictures import make
from telltale.lab.sharing import Told, silent
from telltale.models import lmm_mini
from telltale.models.clip import CONFIG_FILE, TOKENIZER_FOLDER, WEIGHTS_FILE, digest, mini_folder
from telltale.models.devices import chosen_device

LEARNING_RATE, RATE_ONWARDS = 8e-4, 3e-4
"""From scratch, and from the weights of an earlier training."""
WARM_STEPS = 60
DECAY_FROM = 0.6
TOKENS_PER_STEP, GPU_TOKENS = 1600, 4800
"""On a CPU and on a GPU. Examples of a batch are as many as fit: short questions first, so steps are many and quick."""
WHOLE = 0.6
"""Share of examples from whole pictures; the others are composed of single crops."""
SAVE_EVERY = 50
SHARDS, MOST_CROPS = 50, 12_000
STEPS = 3200
"""Of TOKENS_PER_STEP: about fifty minutes of one core."""
ASKED = ((0.15, 1, 2, 0.3), (0.35, 1, 5, 0.3), (0.6, 2, 9, 0.3), (1.01, 4, 12, 0.4))
"""Until which share of the run: how few and how many pairs are asked (an easy start), and the share of
batches with answers. Without them a prompt's own labels teach at less cost what a cue's line tells; that
the answer says it too takes answers. A training that begins with earlier weights asks as at the end."""


def train(
    faces: Path,
    out: Path,
    seed: int = 1,
    minutes: float | None = None,
    steps: int = STEPS,
    encoder: Path | None = None,
    shards: int = SHARDS,
    most_crops: int = MOST_CROPS,
    start: Path | None = None,
    batch: int | None = None,
    told: Told = silent,
) -> Path:
    """Train until ``steps`` in all, over resumed runs, and export; returns the weights' folder.

    Stops early after ``minutes`` of this run's steps, to go on another time; the schedule follows the
    steps. Shards that are not there are drawn first. ``told`` hears of shards and of steps. ``encoder`` is a folder of encoder weights; unset means the package's. ``start`` is a folder of
    judge weights to begin with, whatever tower they were trained on; unset means random ones. A step is
    of ``batch`` tokens; unset means TOKENS_PER_STEP, on a GPU GPU_TOKENS.
    """
    run = Run(out, encoder or mini_folder(), seed, batch, start)
    make(faces, out / "pictures", seed, shards, measuring=False, told=told)
    if most_crops:
        numbers = range(max(2, most_crops // 250))
        crop_cache.build(faces, out / "crops", seed, numbers, told=told)
    run.look(shards, most_crops, told)
    run.resume()
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    told("judge", run.steps, steps)
    while run.steps < steps and time.monotonic() < until:
        run.step(run.steps / steps)
        told("judge", run.steps, steps)
        if run.steps % SAVE_EVERY == 0:
            run.save()
            run.export(out / "weights")
    run.save()
    run.export(out / "weights")
    return out / "weights"


class Run:
    """One training with all that a checkpoint must hold."""

    def __init__(
        self,
        out: Path,
        encoder: Path,
        seed: int,
        batch: int | None = None,
        start: Path | None = None,
    ) -> None:
        for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FOLDER):
            if not (encoder / name).exists():
                raise WeightsMissing(
                    f"the mini encoder ({name})", str(encoder),
                    "train it first: telltale lab train encoder",
                )  # fmt: skip
        torch.manual_seed(seed)
        config = json.loads((encoder / CONFIG_FILE).read_text(encoding="utf-8"))
        self.out = out
        self.config = lmm_mini.config_of(config, *_vocabulary(encoder))
        self.model = lmm_mini.build(self.config).train()
        lmm_mini.load_tower(self.model, load_file(encoder / WEIGHTS_FILE))
        self.onwards = start is not None
        if start is not None:
            lmm_mini.load_rest(self.model, start)
        self.device = chosen_device("auto")
        self.tokens = batch or (GPU_TOKENS if self.device == "cuda" else TOKENS_PER_STEP)
        self.model.to(self.device)
        self.model.model.vision_tower.eval().requires_grad_(False)
        self.processor = lmm_mini.processor_of(encoder / TOKENIZER_FOLDER, self.config)
        self.kept = out / "features" / digest(encoder / WEIGHTS_FILE)
        self.writer = Writer(
            Corpus(load_cues()), self.processor.tokenizer, self.config.image_seq_length, EMPHASIS
        )
        self.rng = np.random.default_rng(seed)
        self.learned = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.learned, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05
        )
        self.steps, self.elapsed_s = 0, 0.0
        self.whole: list[Scene] = []
        self.composer: Composer | None = None
        self._mean: dict[str, float] = {}

    def look(self, shards: int, most_crops: int, told: Told = silent) -> None:
        """Compute what the tower sees of the training pictures, or read it where it is kept."""
        see = seeing(self.model.model.vision_tower)
        self.whole = scenes(self.out / "pictures", self.kept, see, shards, told)
        if most_crops:
            cache = crop_cache.Cache(self.out / "crops")
            self.composer = Composer(cache, self.kept, see, most_crops, told)

    def batch(self, progress: float) -> list[tuple[Scene, bool, Example]]:
        """Twins, both asked the same, as many as fit."""
        asked = ASKED[-1:] if self.onwards else ASKED
        few, many, share = next(rest for until, *rest in asked if progress < until)
        count = int(self.rng.integers(int(few), int(many) + 1))
        answered = self.rng.random() < share
        made: list[tuple[Scene, bool, Example]] = []
        while True:
            whole = self.composer is None or self.rng.random() < WHOLE
            scene = (
                self.whole[int(self.rng.integers(len(self.whole)))]
                if whole or self.composer is None
                else self.composer.draw(self.rng)
            )
            pairs = self.writer.corpus.ask(scene, count, self.rng)
            for edited in (False, True):
                example = self.writer.example(scene, edited, pairs, self.rng, answered)
                made.append((scene, edited, example))
            if len(made) * max(len(e.ids) for *_, e in made) > self.tokens:
                return made

    def step(self, progress: float) -> None:
        """One optimizer step; ``progress`` is the share of the run that is over, 0 to 1."""
        began = time.monotonic()
        rate = min(1.0, (self.steps + 1) / WARM_STEPS)
        rate *= min(1.0, max(0.03, (1 - progress) / (1 - DECAY_FROM)))
        for group in self.optimizer.param_groups:
            group["lr"] = (RATE_ONWARDS if self.onwards else LEARNING_RATE) * rate
        losses = loss_of(self.model, self.batch(progress))
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learned, 1.0)
        self.optimizer.step()
        self.steps += 1
        self.elapsed_s += time.monotonic() - began
        self._log({k: float(v.detach()) for k, v in losses.items()})

    def save(self) -> None:
        """Write the checkpoint, replacing the last in one move."""
        learned = self.model.state_dict().items()
        state = {
            "model": {k: v for k, v in learned if not k.startswith(lmm_mini.TOWER)},
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "onwards": self.onwards,
            "layers": self.config.text_config.num_hidden_layers,
            "elapsed_s": self.elapsed_s,
            "rng": json.dumps(self.rng.bit_generator.state),
        }
        torch.save(state, self.out / "checkpoint.part")
        (self.out / "checkpoint.part").replace(self.out / "checkpoint.pt")

    def resume(self) -> bool:
        """Take up the checkpoint in the folder; False where there is none.

        Raises ``UsageError`` for one of a language model of other depth.
        """
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state.get("layers") != self.config.text_config.num_hidden_layers:
            raise UsageError(
                f"{path} is of another configuration; train in another folder, or go on from "
                "its weights with --start"
            )
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.elapsed_s = state["steps"], state["elapsed_s"]
        self.onwards = bool(state["onwards"])
        self.rng.bit_generator.state = json.loads(state["rng"])
        return True

    def export(self, folder: Path) -> None:
        """Write the judge in the package's layout."""
        lmm_mini.save(self.model, self.processor, folder)

    def _log(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            if np.isfinite(value):
                self._mean[name] = 0.97 * self._mean.get(name, value) + 0.03 * value
        if self.steps % 20 == 0:
            head = {"step": self.steps, "seconds": self.elapsed_s}
            append(self.out / CURVE, head | self._mean)


def ship(weights: Path) -> None:
    """Copy an exported folder into the package."""
    target = mini_folder() / "judge"
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(weights.iterdir()):
        shutil.copyfile(path, target / path.name)


def _vocabulary(encoder: Path) -> tuple[int, int]:
    """Entries of the shared tokenizer, and the number of its image token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(encoder / TOKENIZER_FOLDER))
    return len(tokenizer), int(tokenizer.convert_tokens_to_ids("<image>"))
