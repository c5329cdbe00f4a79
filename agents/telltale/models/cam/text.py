"""Maps conditioned on text: gradients of the raw logit difference, and patch-text similarity.

In: image tower, a picture (1 x 3 x S x S), directions (n x dim, artifact minus natural). Out: raw
maps (n x h x w).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from telltale.models.cam.tower import blocks, copies, last_norm, patch_grid


def gradient_text(
    visual: torch.nn.Module, picture: torch.Tensor, directions: torch.Tensor
) -> NDArray[np.float32]:
    """Activation times gradient of the unscaled logit difference, summed over channels.

    Gradients are taken at the layer norm before the last block, token by token, without the
    averaging of GradCAM (Selvaraju et al., ICCV 2017): CLIP's tokens are not translation
    equivariant features, so a token keeps its own gradient (as in LayerCAM and HiResCAM).
    """
    kept: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = last_norm(visual).register_forward_hook(keep)
    try:
        with torch.enable_grad(), copies(visual, len(directions)):
            features = visual(picture)
            features = features / features.norm(dim=1, keepdim=True)
            (features * directions).sum().backward()
    finally:
        handle.remove()
    gradient = kept[0].grad
    assert gradient is not None  # retain_grad above; the backward pass went through it
    values = patch_grid((kept[0] * gradient).detach()).sum(dim=1)
    return values.float().cpu().numpy()


def maskclip(visual: Any, picture: torch.Tensor, directions: torch.Tensor) -> NDArray[np.float32]:
    """Similarity of each patch's value vector, projected like the class token, to the direction.

    Zhou, Loy and Dai, "Extract Free Dense Labels from CLIP" (ECCV 2022): the last block's
    attention is replaced by its value path.
    """
    kept: list[torch.Tensor] = []
    block = blocks(visual)[-1]
    handle = block.ln_1.register_forward_hook(lambda _, __, out: kept.append(out))
    try:
        with torch.no_grad():
            visual(picture)
            tokens = kept[0]
            width = tokens.shape[-1]
            weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
            values = torch.nn.functional.linear(tokens, weight[2 * width :], bias[2 * width :])
            dense = visual.ln_post(block.attn.out_proj(values))
            if getattr(visual, "proj", None) is not None:
                dense = dense @ visual.proj
            dense = dense / dense.norm(dim=-1, keepdim=True)
            similar = patch_grid((dense * directions[:, None]).sum(dim=-1, keepdim=True))
    finally:
        handle.remove()
    return similar[:, 0].float().cpu().numpy()
