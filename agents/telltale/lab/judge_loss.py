"""What a batch of questions with known answers costs the mini judge.

In: a judge, examples (``judge_data``) with the features of their scenes. Out: the weighted loss, and means
by place for the curve. Nothing fails but a batch without a label.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from telltale.lab.judge_data import IGNORED, VERDICT_WEIGHT, Example, Scene

EMPHASIS = 1.5
"""Artifacts are rarer among claims than natural places; without weight none would be named."""
Batch = Sequence[tuple[Scene, bool, Example]]


def loss_of(model: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """The weighted loss of a batch (``loss``, to be minimised), and for the curve the mean loss of each place.

    Scalars, on the model's device; NaN for a place that the batch has none of.
    """
    length = max(len(e.ids) for *_, e in batch)
    ids = torch.zeros((len(batch), length), dtype=torch.long)
    labels = torch.full((len(batch), length), IGNORED)
    weights = torch.zeros((len(batch), length))
    for n, (*_, e) in enumerate(batch):
        ids[n, : len(e.ids)] = torch.tensor(e.ids)
        labels[n, : len(e.ids)] = torch.tensor(e.labels)
        weights[n, : len(e.ids)] = torch.tensor(e.weights)
    seen = np.concatenate([s.features[int(edited), e.regions] for s, edited, e in batch])
    device = model.device
    ids, labels, weights = ids.to(device), labels.to(device), weights.to(device)
    fast = device.type == "cuda" or _bf16_is_fast()
    with torch.autocast(device.type, torch.bfloat16, enabled=fast):
        features = torch.from_numpy(seen).to(device).float()
        images = model.model.multi_modal_projector.project(features)
        embedded = model.get_input_embeddings()(ids)
        places = (ids == model.config.image_token_id)[..., None]
        embedded = embedded.masked_scatter(places, images.to(embedded.dtype))
        hidden = model.model.language_model(inputs_embeds=embedded, use_cache=False)[0]
        at = labels != IGNORED
        logits = model.lm_head(hidden[at]).float()
    logits = with_lines(logits, at, batch)
    each = F.cross_entropy(logits, labels[at], reduction="none")
    weight = weights[at]
    verdict = weight == VERDICT_WEIGHT
    choice = (weight == 1.0) | (weight == EMPHASIS)
    at_line = (weight == 0.5) | (weight == 0.5 * EMPHASIS)
    right = (logits.argmax(-1) == labels[at]).float()
    return {
        "loss": (each * weight).sum() / weight.sum().clamp_min(1e-6),
        "forced": each[weight < 0.5].mean(),
        "at_line": each[at_line].mean(),
        "choices": each[choice].mean(),
        "verdicts": each[verdict].mean(),
        "verdicts_right": right[verdict].mean(),
    }


def with_lines(logits: torch.Tensor, at: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits of the labelled places, to a choice those of its cue's line added, as ``jump`` decodes.

    ``logits`` is n x vocabulary, a row for each true place of ``at`` (examples x tokens), in order.
    """
    known = at.cpu()  # asked place by place, which a GPU answers slowly
    number = known.flatten().cumsum(0).reshape(known.shape) - 1
    pairs = [
        (number[n, choice], number[n, line])
        for n, (*_, e) in enumerate(batch)
        for line, choice in zip(e.lines, e.choices, strict=False)  # no choices without an answer
        if known[n, choice]
    ]
    if not pairs:
        return logits
    choices, lines = (torch.stack(of).to(logits.device) for of in zip(*pairs, strict=True))
    return logits.index_add(0, choices, logits[lines])


@cache
def _bf16_is_fast() -> bool:
    """Whether this processor multiplies bf16 matrices faster than fp32 ones; many emulate it."""
    took: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones((256, 256), dtype=dtype)
        a @ a
        began = time.process_time()
        for _ in range(3):
            a @ a
        took[dtype] = time.process_time() - began
    return took[torch.bfloat16] < took[torch.float32]
