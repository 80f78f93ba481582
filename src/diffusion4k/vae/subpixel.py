"""Nearest x2 upsampling and a 3x3 convolution, folded into one convolution at low resolution.

Along one axis let `u[2i] = u[2i + 1] = x[i]` and `y[n] = w0 u[n - 1] + w1 u[n] + w2 u[n + 1]`.
Two neighbouring taps always meet the same input, so that each output phase has two taps:

    y[2i]     = w0 x[i - 1]   + (w1 + w2) x[i]
    y[2i + 1] = (w0 + w1) x[i] + w2 x[i + 1]

In two dimensions that makes four phases of 2x2 taps: one 2x2 convolution with four times the
output channels, interleaved by a pixel shuffle. Over `x` with one ring of zeros the convolution
gives (H + 1, W + 1) positions; position p holds y[2p - 1] in the odd phase and y[2p] in the even
one, so with the odd phase first the shuffled image is y with one more pixel on every side.
The identity is exact, borders included, as a ring of zeros stays one when upsampled.

It takes 4 multiplications where upsample-and-convolve takes 9, and no upsampled copy.
Sub-pixel convolution: Shi et al., arXiv 1609.05158; resize-convolution seen as one: Aitken et al.,
arXiv 1707.02937.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SubPixelConv2d", "fold_upsample"]


class SubPixelConv2d(nn.Conv2d):
    """`interpolate(x, scale_factor=2, mode="nearest")` and a 3x3 convolution, as one convolution.

    `weight (O, C, 3, 3)` and `bias (O,)` are those of the plain convolution, under the same names:
    a state dict fits both. The folded weights are derived in `forward`, which costs nothing beside
    the convolution, never goes stale, and lets gradients reach the plain weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, 3, padding=1, bias=bias, device=device, dtype=dtype
        )

    def forward(self, input: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, O, 2H, 2W)`, in the memory format of the convolution."""
        return self._phases(input, padding=1).clone()

    def without_padding(self, padded: Tensor) -> Tensor:
        """The same of an input that has its ring already, `(B, C, H + 2, W + 2)`; a view."""
        return self._phases(padded, padding=0)

    def _phases(self, input: Tensor, padding: int) -> Tensor:
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        phases = F.conv2d(input, _fold(self.weight), bias, padding=padding)
        return F.pixel_shuffle(phases, 2)[..., 1:-1, 1:-1]


def fold_upsample(conv: nn.Conv2d) -> SubPixelConv2d:
    """The convolution that equals nearest x2 upsampling followed by `conv`; shares its parameters.

    Raises:
        ValueError: `conv` is not 3x3 with stride 1, padding 1 of zeros, no dilation, no groups.
    """
    found = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    if found != ((3, 3), (1, 1), (1, 1), (1, 1), 1) or conv.padding_mode != "zeros":
        raise ValueError(
            f"cannot fold {conv}: only a 3x3 convolution with stride 1, zero padding 1, "
            "dilation 1 and one group is foldable"
        )
    folded = SubPixelConv2d(
        conv.in_channels, conv.out_channels, bias=conv.bias is not None, device="meta"
    )
    folded.weight, folded.bias = conv.weight, conv.bias
    return folded.train(conv.training)


def _fold(weight: Tensor) -> Tensor:
    """`(O, C, 3, 3)` to `(4 O, C, 2, 2)`; phases stand on the output axis as in `pixel_shuffle`."""
    # Half-precision taps are summed in float32 and rounded once.
    taps = weight.to(torch.promote_types(weight.dtype, torch.float32))
    rows = _fold_axis(taps, axis=2, phase_axis=1)  # (O, 2, C, 2, 3)
    both = _fold_axis(rows, axis=4, phase_axis=2)  # (O, 2, 2, C, 2, 2)
    return both.flatten(0, 2).to(weight.dtype)


def _fold_axis(weight: Tensor, axis: int, phase_axis: int) -> Tensor:
    first, middle, last = weight.unbind(axis)
    odd = torch.stack((first + middle, last), axis)
    even = torch.stack((first, middle + last), axis)
    return torch.stack((odd, even), phase_axis)
