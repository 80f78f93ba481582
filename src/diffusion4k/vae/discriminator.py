"""Discriminators that judge each patch of an image on its own (PatchGAN, Isola et al., 1611.07004).

Either sees the image's pixels, or its sub-bands, in which fine detail stands apart from what is
larger and is as strong. Nothing depends on the other images of a batch, nor on how a batch is
divided among processes.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from diffusion4k.wavelet import dwt2

__all__ = ["PatchDiscriminator", "SubBandDiscriminator"]

_WIDEST = 8  # times the channels of the first layer


class PatchDiscriminator(nn.Module):
    """`layers` convolutions 4x4 of stride 2, one of stride 1, and one to a value a patch.

    Spectral normalisation (Miyato et al., arXiv 1802.05957) bounds the slope of each layer, in
    place of pix2pix's batch normalisation. With the usual three layers each value sees 70x70
    pixels. In training mode a call takes one step of the power iteration that estimates the
    spectral norms; in evaluation mode none.
    """

    def __init__(self, channels: int = 64, layers: int = 3, in_channels: int = 3) -> None:
        super().__init__()
        widths = [channels * min(2**i, _WIDEST) for i in range(layers + 1)]
        blocks: list[nn.Module] = []
        before = in_channels
        for i, width in enumerate(widths):
            stride = 2 if i < layers else 1
            blocks += [
                spectral_norm(nn.Conv2d(before, width, 4, stride=stride, padding=1)),
                nn.LeakyReLU(0.2),
            ]
            before = width
        self.layers = nn.Sequential(
            *blocks, spectral_norm(nn.Conv2d(before, 1, 4, stride=1, padding=1))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` in [-1, 1] to values `(B, 1, h, w)`: above 0 is held for real.

        With three layers h is H/8 - 2, so that an image needs 24 pixels a side at least.
        """
        return self.layers(images)


class SubBandDiscriminator(nn.Module):
    """Judges the Haar sub-bands of an image, brought to like strength, patch by patch.

    `layers` times a convolution 4x4 of stride 2 and one of 3x3, on sub-bands of half the image's
    size. Its slope is bounded by no normalisation: it needs `gradient_penalty`.
    """

    # Of photographs in [-1, 1]: their detail has about a twelfth of the amplitude of the rest.
    _LOW, _DETAIL = 0.5, 6.0

    def __init__(self, channels: int = 64, layers: int = 2) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(12, channels, 3, padding=1), nn.LeakyReLU(0.2)]
        before = channels
        for _ in range(layers):
            blocks += [
                nn.Conv2d(before, 2 * channels, 4, stride=2, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(2 * channels, 2 * channels, 3, padding=1),
                nn.LeakyReLU(0.2),
            ]
            before = 2 * channels
        self.layers = nn.Sequential(*blocks, nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` in [-1, 1] to values `(B, 1, H/2^(layers+1), W/2^(layers+1))`."""
        low, *detail = dwt2(images).chunk(4, dim=1)
        return self.layers(torch.cat([self._LOW * low, *(self._DETAIL * d for d in detail)], dim=1))
