"""PatchGAN discriminator: judges each patch of an image on its own (Isola et al., 1611.07004).

Spectral normalisation (Miyato et al., arXiv 1802.05957) bounds the slope of each layer, in place of
pix2pix's batch normalisation: nothing depends on the other images of a batch, nor on how a batch is
divided among processes.
"""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["PatchDiscriminator"]

_WIDEST = 8  # times the channels of the first layer


class PatchDiscriminator(nn.Module):
    """`layers` convolutions 4x4 of stride 2, one of stride 1, and one to a value a patch.

    With the usual three layers each value sees 70x70 pixels. In training mode a call takes one step
    of the power iteration that estimates the spectral norms; in evaluation mode none.
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
