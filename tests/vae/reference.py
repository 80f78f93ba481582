"""Independent statements of what the F=16 autoencoder computes, as plainly as possible."""

import copy

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

__all__ = ["UpsampleThenConv", "split_in_four", "unfolded"]


class UpsampleThenConv(nn.Module):
    """Nearest x2, then the convolution, with the upsampled copy in memory."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def unfolded(autoencoder: AutoencoderKL) -> AutoencoderKL:
    """A stock F=8 autoencoder at F=16: stride 2 in front, nearest x2 before the last convolution.

    A copy; its configuration still says F=8.
    """
    autoencoder = copy.deepcopy(autoencoder)
    autoencoder.encoder.conv_in.stride = (2, 2)
    autoencoder.decoder.conv_out = UpsampleThenConv(autoencoder.decoder.conv_out)
    return autoencoder


def split_in_four(x: Tensor, conv: nn.Conv2d, crop: int = 2) -> Tensor:
    """The partitioned decoder tail: each quarter of `x`, with a halo of one, on its own.

    The halo is two pixels wide after upsampling: `crop` 2 is right; 1 shifts the image by one.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    rows = []
    for top in (0, h):
        row = []
        for left in (0, w):
            part = padded[..., top : top + h + 2, left : left + w + 2]
            part = conv(F.interpolate(part, scale_factor=2.0, mode="nearest"))
            row.append(part[..., crop : crop + 2 * h, crop : crop + 2 * w])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)
