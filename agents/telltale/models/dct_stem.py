"""The mini encoder's first layer: overlapping block DCT magnitudes, then convolutions to tokens.

In: normalised RGB pictures, n x 3 x S x S float32. Out: n x width x S/16 x S/16, what a ViT's patch
convolution would give, so that the module stands in the place of ``visual.conv1``. It raises
nothing of its own.

The frequencies of 8 x 8 blocks are where warps, blurs, pastes and recompression show: log
magnitudes of the DCT are the classical features (Frank et al., "Leveraging Frequency Analysis for
Deep Fake Image Recognition", ICML 2020).
"""

from __future__ import annotations

import math

import torch
from torch import nn

BLOCK_PX = 8
STRIDE_PX = 4
PATCH_PX = 16
CHROMA_BANDS = 16
"""Of Cb and Cr only the lowest 4 x 4 frequencies: JPEG keeps hardly more of them."""
BANDS = BLOCK_PX**2 + 2 * CHROMA_BANDS
YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_FLOOR = 0.004  # about half a grey level of 255: below it a magnitude is rounding noise


def dct_kernels() -> torch.Tensor:
    """The 64 orthonormal DCT-II basis pictures: 64 x 1 x 8 x 8, vertical frequency first."""
    k = torch.arange(BLOCK_PX, dtype=torch.float64)
    rows = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * BLOCK_PX))
    rows *= math.sqrt(2 / BLOCK_PX)
    rows[0] /= math.sqrt(2)
    basis = torch.einsum("uy,vx->uvyx", rows, rows)
    return basis.reshape(BLOCK_PX**2, 1, BLOCK_PX, BLOCK_PX).float()


def colour_kernels() -> torch.Tensor:
    """Kernels that take RGB to the DCT of Y, then the low bands of Cb and Cr: 96 x 3 x 8 x 8."""
    basis = dct_kernels()
    low = [u * BLOCK_PX + v for u in range(4) for v in range(4)]
    planes = [basis, basis[low], basis[low]]
    rows = [k * torch.tensor(c).view(1, 3, 1, 1) for k, c in zip(planes, YCC, strict=True)]
    return torch.cat(rows)


class DctStem(nn.Module):
    """Fixed DCT tokens every 4 pixels of Y, Cb and Cr, standardised, then learned convolutions.

    The mean and deviation of each log magnitude are buffers, measured once on training crops
    (``calibrate``) and stored with the weights.
    """

    kernels: torch.Tensor
    band_mean: torch.Tensor
    band_std: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("kernels", colour_kernels(), persistent=False)
        self.register_buffer("band_mean", torch.zeros(BANDS))
        self.register_buffer("band_std", torch.ones(BANDS))
        self.mix = nn.Conv2d(BANDS, width // 3, 1)
        self.down = nn.Conv2d(width // 3, width // 2, 3, stride=2, padding=1)
        self.patch = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)

    @property
    def weight(self) -> torch.Tensor:
        """The last convolution's kernel: libraries read a patch layer's dtype from it."""
        return self.patch.weight

    def coefficients(self, pictures: torch.Tensor) -> torch.Tensor:
        """DCT coefficients of blocks every 4 px, n x 96 x S/4 x S/4, of a mirrored rim of 2 px.

        ``pictures`` lies in -1..1 (mean and deviation 0.5).
        """
        padded = nn.functional.pad(pictures, (2, 2, 2, 2), mode="reflect")
        return nn.functional.conv2d(padded, self.kernels, stride=STRIDE_PX)

    def magnitudes(self, pictures: torch.Tensor) -> torch.Tensor:
        """Log magnitudes of the coefficients, same shape."""
        return torch.log(self.coefficients(pictures).abs() + _FLOOR)

    @torch.no_grad()
    def calibrate(self, pictures: torch.Tensor) -> None:
        """Set mean and deviation of each band from sample pictures."""
        bands = self.magnitudes(pictures)
        self.band_mean.copy_(bands.mean((0, 2, 3)))
        self.band_std.copy_(bands.std((0, 2, 3)).clamp_min(1e-3))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        bands = self.magnitudes(pictures)
        bands = (bands - self.band_mean[:, None, None]) / self.band_std[:, None, None]
        tokens = nn.functional.relu(self.mix(bands))
        tokens = nn.functional.relu(self.down(tokens))
        grid: torch.Tensor = self.patch(tokens)
        return grid
