"""Attention rollout: where the class token's attention comes from, whatever the text says.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (ACL 2020). It is blind to the
sentence and serves as a control: it can show what a picture draws attention to, never why.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from telltale.models.cam.tower import blocks, patch_grid


def rollout(
    visual: torch.nn.Module, picture: torch.Tensor, directions: torch.Tensor
) -> NDArray[np.float32]:
    """Raw maps (n x h x w); all alike for one picture, as ``directions`` play no part."""
    inputs: list[torch.Tensor] = []
    layers = blocks(visual)
    handles = [b.ln_1.register_forward_hook(lambda _, __, out: inputs.append(out)) for b in layers]
    try:
        with torch.no_grad():
            visual(picture)
            flow: torch.Tensor | None = None
            for block, tokens in zip(layers, inputs, strict=True):
                attention = block.attn(tokens, tokens, tokens, need_weights=True)[1]
                step = attention + torch.eye(attention.shape[-1], device=attention.device)
                step = step / step.sum(dim=-1, keepdim=True)
                flow = step if flow is None else step @ flow
    finally:
        for handle in handles:
            handle.remove()
    assert flow is not None  # a tower has at least one block
    grid = patch_grid(flow[:, 0, :, None])[:, 0].float().cpu().numpy()
    return np.repeat(grid, len(directions), axis=0)
