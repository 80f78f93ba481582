"""A perceptual distance on features of EfficientNet-Lite0: named EffNet-PD, as it is no LPIPS.

Of both images the features after each resolution (strides 2, 4, 8, 16 and 32) are scaled to unit
length over the channels at every pixel; squared differences are summed over channels, averaged over
pixels, and added up over the resolutions: LPIPS (Zhang et al. 2018, arXiv 1801.03924, eq. 1) with
all weights one and another network. It needs no weights but those that the package brings, and is
differentiable.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion4k.metrics.architectures.efficientnet_lite import (
    EfficientNetLite0Network,
    load_efficientnet_lite0,
)
from diffusion4k.metrics.images import check_batches

__all__ = ["EffNetDistance"]

_STRIDE = 32
_EPSILON = 1e-10


class EffNetDistance(nn.Module):
    """Distances `(B,)` of two batches of images `(B, 3, H, W)` in [-1, 1], from 0 on.

    Sides that are no multiple of 32 are continued by their border.

    Raises:
        Diffusion4kError: the package with the weights is missing.
        UsageError: (in the call) shapes that differ or are no images.
    """

    name = "EffNet-PD"

    def __init__(self) -> None:
        super().__init__()
        self.network: EfficientNetLite0Network = load_efficientnet_lite0()

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        check_batches(images, references)
        distance = images.new_zeros(len(images))
        for a, b in zip(self._features(images), self._features(references), strict=True):
            distance = distance + (a - b).square().sum(1).mean((1, 2))
        return distance

    def _features(self, images: Tensor) -> list[Tensor]:
        """Unit vectors over the channels, at each resolution."""
        height, width = images.shape[-2:]
        pads = (0, -width % _STRIDE, 0, -height % _STRIDE)
        # From [-1, 1] to the network's (value - 127) / 128.
        x = (F.pad(images, pads, mode="replicate") * 127.5 + 0.5) / 128
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu6(self.network.stem(x))
        found = []
        for block in self.network.blocks:
            y = block(x)
            if y.shape[-1] != x.shape[-1]:
                found.append(x)
            x = y
        found.append(F.relu6(self.network.head(x)))
        return [v / (v.square().sum(1, keepdim=True) + _EPSILON).sqrt() for v in found]
