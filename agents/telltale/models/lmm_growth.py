"""Weights of a small language model as those of a deeper one that says the same.

In: a state dict under transformers' names for a Llama in a LLaVA. Out: one of more layers. Nothing
fails: weights of as many layers or more are given back as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

LANGUAGE_LAYERS = "model.language_model.layers."
LAYER_OUTPUTS = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
"""What a layer adds to its input passes through these."""


def grown(state: Mapping[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """Weights of a language model of at most ``layers`` layers as those of one of ``layers``.

    The layers are spread evenly; each new one is a copy of the layer before whose outputs are zero:
    it passes on what it is given, and has something to learn from (block expansion, Wu et al. 2024,
    "LLaMA Pro", arXiv:2401.02415).
    """
    of = re.compile(re.escape(LANGUAGE_LAYERS) + r"(\d+)\.(.+)")
    parts = {name: match for name in state if (match := of.fullmatch(name))}
    held = 1 + max((int(m[1]) for m in parts.values()), default=-1)
    if not 0 < held < layers:
        return dict(state)
    out = {name: value for name, value in state.items() if name not in parts}
    sources = [n * held // layers for n in range(layers)]
    for n, source in enumerate(sources):
        repeated = n > 0 and sources[n - 1] == source
        for name, match in parts.items():
            if int(match[1]) == source:
                ends = repeated and match[2] in LAYER_OUTPUTS
                value = torch.zeros_like(state[name]) if ends else state[name].clone()
                out[f"{LANGUAGE_LAYERS}{n}.{match[2]}"] = value
    return out
