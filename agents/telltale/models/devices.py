"""Which device the models run on, and with how many threads.

In: the settings' words. Out: a torch device name. Raises ``UsageError`` for a device that is not there.
"""

from __future__ import annotations

import torch

from telltale.errors import UsageError


def chosen_device(name: str) -> str:
    """``auto`` is the first GPU where there is one, else the CPU."""
    # convolutions in TF32 would round the DCT stem's small coefficients; a GPU is to see what a CPU sees
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"TELLTALE_DEVICE {name!r} is no torch device; try cpu or cuda") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"TELLTALE_DEVICE {name!r}: {torch.cuda.device_count()} GPUs are here")
    return name


def use_threads(count: int) -> None:
    """Compute with so many threads; 0 leaves it to torch."""
    if count:
        torch.set_num_threads(count)
