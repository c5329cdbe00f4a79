"""Train and measure the small detector: a YOLO nano on composites, on a GPU where there is one.

One core (or the GPU) learns while the others compose what comes next.

In: a folder of photographs with landmarks. Out: in the output folder, ``detector.safetensors``
and ``detector.json`` (averaged weights, fp16), ``checkpoint.safetensors`` and its JSON to go on
from, and ``curve.csv``. Raises ``LookupError`` if the folder holds no usable photograph, and
``ValueError`` if the output folder holds a training of another seed or length.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from telltale.lab.composites import CLASSES, Labels, compose
from telltale.lab.curves import CURVE, append
from telltale.lab.cutouts import Layer, backgrounds, layers
from telltale.lab.heads import heads as drawn_heads
from telltale.lab.measure_detector import evaluate as evaluate
from telltale.lab.sharing import Told
from telltale.models.devices import chosen_device
from telltale.models.yolo import architecture, build, quiet_ultralytics
from telltale.regions import Pixels

Picture = tuple[Pixels, Labels]

SIZES_PX = (256, 320, 448)
SIZE_SHARES = (0.70, 0.20, 0.10)
"""Small canvases see more pictures a second; the larger ones show whole faces near 400 px."""

STEPS = 8_000
"""Of sixteen small pictures: about an hour and a quarter of one core, while another composes."""
HEADS = 600
"""Turned heads drawn to learn from, fewer for a training of few pictures; see ``telltale.lab.heads``."""
HEADS_FROM = 0.2
"""Share of the training after which every other person is such a head: easy ones first."""
PEAK_RATE = 2.0e-3
WARM_UP_STEPS = 100
IMGSZ = 640
"""Longer side, in px, to which pictures are brought when the weights are used."""

LARGE_IMGSZ = 320
LARGE_PX = 160
"""Faces whose longer side, at ``IMGSZ``, is at least ``LARGE_PX`` are taken from pictures brought to this
size: on the canvases trained on a larger face is rare."""

CONFIDENCE = 0.2
"""Least confidence reported of a part; it must lie in a face to count."""

FACE_CONFIDENCE = 0.5
"""Least confidence reported of a face: below it, small bright things are often taken for one."""

AVERAGING = 0.998
"""Decay of the averaged weights; the first steps use a shorter memory."""


@dataclass(frozen=True)
class Plan:
    """What a training is: with the same plan and material it is the same training."""

    seed: int
    steps: int
    batch: int = 16
    peak_rate: float = PEAK_RATE
    start: str = ""
    """SHA-256 of the weights that it begins with; empty means random ones."""


@dataclass(frozen=True)
class Material:
    """What composites are made of: cut-out photographs, heads drawn in their skins, backgrounds."""

    people: Sequence[Layer]
    heads: Sequence[Layer]
    scenes: Sequence[Pixels]

    def at(self, share: float) -> Sequence[Layer]:
        """Whom to paste when that share of the training is done."""
        if share < HEADS_FROM:
            return self.people
        again = round(len(self.heads) / len(self.people)) or 1
        return [*(list(self.people) * again), *self.heads]


def batch_of(plan: Plan, step: int, material: Material) -> list[Picture]:
    """The pictures of one step; a function of the plan, the material and the step only."""
    rng = np.random.default_rng([plan.seed, step])
    size = int(rng.choice(SIZES_PX, p=SIZE_SHARES))
    count = max(2, round(plan.batch * (256 / size) ** 2))
    people = material.at(step / plan.steps)
    return [compose(rng, people, material.scenes, size, harder=True) for _ in range(count)]


def collated(pictures: Sequence[Picture]) -> dict[str, Tensor]:
    """A batch in the form that the losses of ultralytics take: RGB 0 to 1, boxes xywh 0 to 1."""
    size = pictures[0][0].shape[0]
    images = np.stack([p for p, _ in pictures]).transpose(0, 3, 1, 2)
    rows = np.concatenate([labels for _, labels in pictures])
    index = np.repeat(np.arange(len(pictures)), [len(labels) for _, labels in pictures])
    x0, y0, x1, y1 = rows[:, 1:].T / size
    boxes = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).float().div_(255)
    return {
        "img": pixels.to(memory_format=torch.channels_last),
        "cls": torch.from_numpy(rows[:, :1].copy()),
        "bboxes": torch.from_numpy(boxes),
        "batch_idx": torch.from_numpy(index).float(),
    }


class Training:
    """A training that can stop after any step and go on from its checkpoint."""

    def __init__(self, plan: Plan, out: Path, start: Path | None = None) -> None:
        self.plan, self.out, self.step = plan, out, 0
        self.cfg, self.device = architecture(CLASSES), chosen_device("auto")
        torch.manual_seed(plan.seed)
        self.model = build(self.cfg).train().to(memory_format=torch.channels_last)
        if start is not None:
            self.model.load_state_dict({k: v.float() for k, v in load_file(start).items()})
        self.model.to(self.device)
        self.model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
        self.loss = self.model.init_criterion()
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.99))

    def advance(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One step; the three losses (box, class, distribution) and the rate."""
        rate = self.plan.peak_rate * self._share()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = {name: value.to(self.device) for name, value in batch.items()}
        total, parts = self.loss(self.model(batch["img"]), batch)
        self.optimizer.zero_grad(set_to_none=True)
        total.sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        box, cls, dfl = (float(parts[name]) for name in ("box_loss", "cls_loss", "dfl_loss"))
        return {"step": self.step, "box": box, "cls": cls, "dfl": dfl, "rate": rate}

    def save(self) -> None:
        """Write the checkpoint and, beside it, the weights to ship."""
        self.out.mkdir(parents=True, exist_ok=True)
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{number}.{k}": v for k, v in moments.items()}
        state = {k: v.detach().clone().contiguous() for k, v in state.items()}
        about = {"step": self.step, "plan": asdict(self.plan)}
        partial = self.out / "checkpoint.partial"
        save_file(state, partial, {"about": json.dumps(about)})
        (self.out / "checkpoint.json").write_text(json.dumps(about))
        partial.replace(self.out / "checkpoint.safetensors")
        export(self.averaged, self.cfg, self.plan, self.step, self.out)

    def load(self) -> bool:
        """Go on from the checkpoint in the output folder; False if there is none."""
        path = self.out / "checkpoint.safetensors"
        if not path.exists():
            return False
        about = json.loads((self.out / "checkpoint.json").read_text())
        if about["plan"] != asdict(self.plan):
            raise ValueError(f"{path} belongs to another training: {about['plan']}")
        state = load_file(path)
        self.model.load_state_dict(_under("model.", state))
        self.averaged.load_state_dict(_under("averaged.", state))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", state).items():
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step = int(about["step"])
        return True

    def _share(self) -> float:
        warm = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        done = min(1.0, self.step / self.plan.steps)
        return warm * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * done))))

    def _average(self) -> None:
        decay = min(AVERAGING, (1 + self.step) / (10 + self.step))
        ours = self.model.state_dict()
        for name, value in self.averaged.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(ours[name].detach(), 1 - decay)
            else:
                value.copy_(ours[name])


def train(
    faces: Path,
    out: Path,
    seed: int = 0,
    minutes: float | None = None,
    steps: int = STEPS,
    resume: bool = True,
    scenes: Sequence[Path] = (),
    batch: int = 16,
    progress: Any = None,
    start: Path | None = None,
    peak_rate: float = PEAK_RATE,
    told: Told | None = None,
) -> Path:
    """Train until ``steps`` in all, over resumed runs; stop early after ``minutes`` of this run's.

    ``scenes`` are folders of photographs without people, beside those that packages carry.
    ``progress`` is called with each row of the curve. ``start`` is a folder of weights of this
    architecture to begin with, and ``peak_rate`` the highest learning rate, lower for such a
    continuation. ``told`` hears how many of the turned heads are drawn.
    Returns the path of the weights.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    quiet_ultralytics()
    first = None if start is None else start / "detector.safetensors"
    digest = "" if first is None else sha256(first.read_bytes()).hexdigest()
    training = Training(Plan(seed, steps, batch, peak_rate, digest), out, first)
    if resume:
        training.load()
    people = layers(faces, measuring=False)
    drawn = drawn_heads(people, seed, min(HEADS, 1 + steps * batch // 4), told)
    material = Material(people, drawn, backgrounds(scenes))
    ends = math.inf if minutes is None else time.monotonic() + 60 * minutes
    saved = time.monotonic()
    for row in _rows(training, material, ends):
        append(out / CURVE, row)
        if progress is not None:
            progress(row)
        if time.monotonic() - saved > 120:
            training.save()
            saved = time.monotonic()
    training.save()
    return out / "detector.safetensors"


def export(model: torch.nn.Module, cfg: dict[str, Any], plan: Plan, step: int, out: Path) -> None:
    """Write weights as fp16 safetensors, and the JSON that ``YoloDetector`` builds them from."""
    half = {
        k: (v.half() if v.dtype.is_floating_point else v).detach().cpu().clone().contiguous()
        for k, v in model.state_dict().items()
    }
    about = {
        "name": "telltale-mini-detector",
        "architecture": cfg,
        "names": list(CLASSES),
        "imgsz": IMGSZ,
        "confidence": CONFIDENCE,
        "face_confidence": FACE_CONFIDENCE,
        "large_imgsz": LARGE_IMGSZ,
        "large_px": LARGE_PX,
        "training": asdict(plan) | {"done": step},
    }
    save_file(half, out / "detector.safetensors")
    (out / "detector.json").write_text(json.dumps(about, indent=1) + "\n")


def _rows(training: Training, material: Material, ends: float) -> Iterator[dict[str, float]]:
    start, plan = time.monotonic(), training.plan
    cores = len(os.sched_getaffinity(0))
    ahead: deque[Future[list[Picture]]] = deque()
    with ThreadPoolExecutor(max(1, cores - 1)) as composing:
        while training.step < plan.steps and time.monotonic() < ends:
            while len(ahead) <= cores and training.step + len(ahead) < plan.steps:
                step = training.step + len(ahead)
                ahead.append(composing.submit(batch_of, plan, step, material))
            pictures = ahead.popleft().result()
            row = training.advance(collated(pictures))
            yield row | {"pictures": len(pictures), "seconds": round(time.monotonic() - start, 1)}
        composing.shutdown(cancel_futures=True)


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
