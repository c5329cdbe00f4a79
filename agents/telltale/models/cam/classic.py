"""Class-activation maps of pytorch-grad-cam, steered by a text direction.

In: image tower, a picture (1 x 3 x S x S), directions (n x dim). Out: raw maps (n x h x w) before the
library scales each to 0..1, so that they can be compared with those of neutral sentences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import EigenGradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM

from telltale.models.cam.tower import copies, last_norm, patch_grid


def gradcam_plus_plus(
    visual: torch.nn.Module, picture: torch.Tensor, directions: torch.Tensor
) -> NDArray[np.float32]:
    """Chattopadhay et al., "Grad-CAM++" (WACV 2018)."""
    return _raw(GradCAMPlusPlus, visual, picture, directions)


def layercam(
    visual: torch.nn.Module, picture: torch.Tensor, directions: torch.Tensor
) -> NDArray[np.float32]:
    """Jiang et al., "LayerCAM" (TIP 2021)."""
    return _raw(LayerCAM, visual, picture, directions)


def eigengradcam(
    visual: torch.nn.Module, picture: torch.Tensor, directions: torch.Tensor
) -> NDArray[np.float32]:
    """First principal component of activations times gradients (after Muhammad and Yeasin 2020)."""
    return _raw(EigenGradCAM, visual, picture, directions)


class _Similarity:
    """The raw logit difference of one picture as the target of a map."""

    def __init__(self, direction: torch.Tensor) -> None:
        self._direction = direction

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = (features / features.norm()) @ self._direction
        return logit


def _raw(
    method: type[BaseCAM],
    visual: torch.nn.Module,
    picture: torch.Tensor,
    directions: torch.Tensor,
) -> NDArray[np.float32]:
    kept: list[NDArray[np.float32]] = []

    class Raw(method):  # type: ignore[misc]  # chosen by the caller
        def get_cam_image(self, *args: Any, **options: Any) -> NDArray[np.float32]:
            kept.append(super().get_cam_image(*args, **options))
            return kept[-1]

    with (
        Raw(visual, [last_norm(visual)], reshape_transform=patch_grid) as cam,
        torch.enable_grad(),
        copies(visual, len(directions)),
    ):
        cam(input_tensor=picture, targets=[_Similarity(d) for d in directions])
    return np.asarray(kept[0], np.float32)
