"""What the methods need of open_clip's VisionTransformer: its last block, and grids of tokens.

In: the image tower. Out: modules and reshaped tensors. Raises ``UsageError`` for a tower that is
not a plain vision transformer, as these methods have no meaning there.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from telltale.errors import UsageError


def tower_of_own(visual: torch.nn.Module) -> torch.nn.Module:
    """The same weights in modules of their own.

    The methods hang hooks into the tower. In a shared one they would also see, and change, what other
    threads compute meanwhile.
    """
    shared = [*visual.parameters(), *visual.buffers()]
    return copy.deepcopy(visual, {id(tensor): tensor for tensor in shared})


def last_norm(visual: torch.nn.Module) -> torch.nn.Module:
    """The layer norm before the last block: after it only the class token gets gradient."""
    norm: torch.nn.Module = blocks(visual)[-1].ln_1
    return norm


def blocks(visual: torch.nn.Module) -> list[Any]:
    """The transformer's residual attention blocks (open_clip's own class, which has no types)."""
    transformer = getattr(visual, "transformer", None)
    found = getattr(transformer, "resblocks", None)
    if not isinstance(found, torch.nn.ModuleList):
        raise UsageError(
            f"{type(visual).__name__} has no residual attention blocks; "
            "saliency maps need a ViT image tower, choose one with TELLTALE_ENCODER_MODEL"
        )
    return list(found)


@contextmanager
def copies(visual: torch.nn.Module, count: int) -> Iterator[None]:
    """Within, the last block sees ``count`` copies of the one picture that the tower is given.

    Directions differ only behind it, so whatever they are, the blocks before are computed once; no
    gradient flows back into them.
    """

    def spread(_: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens = given[0].detach().expand(count, -1, -1).clone()
        return (tokens.requires_grad_(torch.is_grad_enabled()), *given[1:])

    handle = blocks(visual)[-1].register_forward_pre_hook(spread)
    try:
        yield
    finally:
        handle.remove()


def patch_grid(tokens: torch.Tensor) -> torch.Tensor:
    """n x (1 + h*w) x c tokens, class token first, to n x c x h x w."""
    count, length, width = tokens.shape
    side = math.isqrt(length - 1)
    return tokens[:, 1:].transpose(1, 2).reshape(count, width, side, side)
