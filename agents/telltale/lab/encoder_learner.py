"""The mini encoder's configuration, and what a batch of twins teaches it.

In: crops of twins with masks, the cue corpus. Out: weighted losses. Raises nothing of its own.

Losses: sigmoid contrastive over cue sentences of both sides and languages (Zhai et al., "Sigmoid
Loss for Language Image Pre-Training", ICCV 2023), edited against untouched and edited above its
own twin on the margin artifact minus natural, and the edit's mask on the patch tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from telltale.cues import LANGUAGES, SIDES, Cue, sentences
from telltale.lab.crop_cache import Rows
from telltale.lab.crops import KINDS, SIZE_PX
from telltale.lab.encoder_labels import Labels
from telltale.lab.encoder_text import ENTRIES
from telltale.models.clip import build_mini

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
CUES_PER_STEP = 28
RANK_MEMORY = 0.97
"""Decay, a pair, of the running mean of a kind's ranking loss."""


class Learner(nn.Module):
    """The model and the heads that only training needs."""

    def __init__(self, cues: int) -> None:
        super().__init__()
        self.clip: Any = build_mini(CONFIG)
        self.patch_head = nn.Linear(WIDTH, 1)
        self.edited_head = nn.Linear(WIDTH, 1)
        self.cue_bias = nn.Parameter(torch.zeros(cues))
        self.bias = nn.Parameter(torch.tensor(-4.0))
        self.kind_loss: torch.Tensor
        self.register_buffer("kind_loss", torch.full((len(KINDS),), float(np.log(2))))

    def remember(
        self, kind: NDArray[np.int64], ranked: torch.Tensor, valid: NDArray[np.bool_]
    ) -> None:
        """Take the ranking losses of a batch into the running mean of their kinds.

        All three are of one entry a pair; log 2 is what a kind costs that is not told at all.
        """
        mean, costs = self.kind_loss.cpu(), ranked.detach().clamp(max=2.0).cpu()
        for n in np.flatnonzero(valid):
            mean[kind[n]].lerp_(costs[n], 1 - RANK_MEMORY)
        self.kind_loss.copy_(mean)

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
        """Sentence features, n x dim, length 1."""
        clip, length = self.clip, tokens.shape[1]
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        at = (tokens == CONFIG["model_cfg"]["text_cfg"]["eos_id"]).int().argmax(1)
        pooled = x[torch.arange(len(x), device=x.device), at] @ clip.text_projection
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
        """2 x len(cues) rows: artifact sentences, then natural ones.

        Trailing padding is cut, as causal text allows.
        """
        rows = []
        for side in range(2):
            for cue in cues:
                held = self._tokens[cue][side]
                rows.append(held[int(rng.integers(len(held)))])
        tokens = torch.stack(rows)
        return tokens[:, : int((tokens != 0).sum(1).max())]


def losses(
    learner: Learner, labels: Labels, corpus: Sentences, rows: Rows, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """The weighted losses of one batch of twins, on the learner's device."""
    pairs, device = len(rows.kind), learner.bias.device

    def there(table: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(table).to(device)

    crops, masks = flipped(rows.crops, rows.masks, rng)
    pictures = pictures_of(np.concatenate([crops[:, 0], crops[:, 1]]), device)
    gain, shift = (there(v) for v in light(pairs, rng))
    pictures = ((pictures + 1) * gain - 1 + shift).clamp_(-1, 1)
    features, patches, edited = learner.see(pictures)

    target = there(masks).float().div(255).view(pairs, 8, 2, 8, 2).amax((2, 4))
    target = target.flatten(1).gt(0.25).float()
    target = torch.cat([torch.zeros_like(target), target])
    shows = (masks.reshape(pairs, -1) > 64).any(1)
    state = np.concatenate([np.zeros(pairs, np.int64), np.where(shows, rows.kind + 1, 0)])

    own = labels.planted[rows.kind]
    listed = np.unique(own)
    others = np.setdiff1d(np.arange(len(labels.seen[0])), listed)
    more = rng.choice(others, max(0, CUES_PER_STEP - len(listed)), replace=False)
    asked = np.concatenate([listed, more])
    texts = learner.read(corpus.draw(asked.tolist(), rng).to(device))
    scale = learner.clip.logit_scale.exp().clamp(max=60.0)
    logits = scale * features @ texts.T

    types = np.concatenate([rows.type, rows.type])
    said = there(labels.artifact[state, types][:, asked])
    sure = there(labels.weight[state, types][:, asked])
    seen = there(labels.seen[types][:, asked])
    truth = torch.cat([said, seen * (1 - said)], 1)
    both = F.binary_cross_entropy_with_logits(
        logits + learner.bias, truth, reduction="none"
    ) * torch.cat([sure, sure], 1)
    contrast = (both * truth).sum() / truth.sum().clamp_min(1)
    contrast = contrast + (both * (1 - truth)).sum() / (1 - truth).sum().clamp_min(1)

    column = there(np.searchsorted(listed, own))
    count = len(asked)
    margins = logits[:, :count] - logits[:, count:]
    mine = margins.gather(1, torch.cat([column, column])[:, None])[:, 0]
    real, fake = mine[:pairs], mine[pairs:]
    bias = learner.cue_bias[there(own)]
    valid = there((rows.own & shows).astype(np.float32))
    binary = valid * (F.softplus(real + bias) + F.softplus(-(fake + bias)))
    ranked = valid * F.softplus(real - fake)
    learner.remember(rows.kind, ranked, rows.own & shows)
    touched = there((state > 0).astype(np.float32))
    weight = 1 + 2 * target
    return {
        "contrast": 0.5 * contrast,
        "binary": binary.sum() / valid.sum().clamp_min(1),
        "rank": ranked.sum() / valid.sum().clamp_min(1),
        "mask": 2 * F.binary_cross_entropy_with_logits(patches, target, weight),
        "edited": 0.5 * F.binary_cross_entropy_with_logits(edited, touched),
    }


def pictures_of(crops: NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """n x S x S x 3 uint8 to the encoder's input on ``device``, n x 3 x S x S in -1..1."""
    there = torch.from_numpy(crops).to(device)
    return there.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def light(pairs: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Another exposure, the same for both twins of a pair: gain and shift, 2 pairs x 1 x 1 x 1."""
    gain = np.where(rng.random(pairs) < 0.5, np.exp(rng.normal(0, 0.12, pairs)), 1.0)
    shift = np.where(rng.random(pairs) < 0.3, rng.normal(0, 0.06, pairs), 0.0)
    one, other = (np.tile(v.astype(np.float32), 2).reshape(-1, 1, 1, 1) for v in (gain, shift))
    return one, other


def flipped(
    crops: NDArray[np.uint8], masks: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Half of the pairs mirrored, mask and all."""
    crops, masks = crops.copy(), masks.copy()
    for n in np.flatnonzero(rng.random(len(crops)) < 0.5):
        crops[n] = crops[n, :, :, ::-1]
        masks[n] = masks[n, :, ::-1]
    return crops, masks
