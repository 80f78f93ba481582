"""An F=16 autoencoder whose first and last convolutions are its own, free to learn.

`PartitionedAutoencoderKL` takes the F=8 weights as they are; this one starts from them and is then
trained (scale-consistent training: Diffusion-4K's extension, arXiv 2506.01331), so that F=16 holds
more than half-resolution detail. Two layers have a new shape:

- First: 4x4, stride 2, padding 1. The start `average` is the 2x2 average of the stock convolution's
  output, exactly: with `y[n] = w0 x[n - 1] + w1 x[n] + w2 x[n + 1]` along one axis,

      (y[2p] + y[2p + 1]) / 2 = w0/2 x[2p - 1] + (w0 + w1)/2 x[2p] + (w1 + w2)/2 x[2p + 1]
                                + w2/2 x[2p + 2]

  It is centred on the two pixels that it replaces. The start `stride` is `y[2p]`, the layer of
  `PartitionedAutoencoderKL`, half a pixel off that centre.
- Last: 3x3 with four times the output channels and a pixel shuffle, at the start equal to nearest
  x2 upsampling and the stock convolution (`subpixel` has the identity; here each output phase keeps
  all nine taps, five of which start at zero).
"""

import functools
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.vae.partitioned import PartitionedAutoencoderKL, f16_config

__all__ = ["PixelShuffleConv2d", "ScaleConsistentAutoencoderKL", "Start", "first_kernel"]

Start = Literal["average", "stride"]


class PixelShuffleConv2d(nn.Conv2d):
    """A 3x3 convolution to four phases of each output channel, interleaved (arXiv 1609.05158).

    `weight (4 O, C, 3, 3)`, `bias (4 O,)`; phases stand on the output axis as in `pixel_shuffle`.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, 4 * channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, O, 2H, 2W)`."""
        return F.pixel_shuffle(super().forward(input), 2)

    def without_padding(self, padded: Tensor) -> Tensor:
        """The same of an input that has its ring already, `(B, C, H + 2, W + 2)`."""
        return F.pixel_shuffle(F.conv2d(padded, self.weight, self.bias), 2)


class ScaleConsistentAutoencoderKL(PartitionedAutoencoderKL):
    """diffusers' `AutoencoderKL` at F=16 with a 4x4 first and a sub-pixel last convolution.

    All other weights and their names are those of the F=8 autoencoder it was made from.
    """

    __module__ = "diffusion4k"

    @functools.wraps(AutoencoderKL.__init__)  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        first, last = self.encoder.conv_in, self.decoder.conv_out
        self.encoder.conv_in = nn.Conv2d(
            first.in_channels, first.out_channels, 4, stride=2, padding=1
        )
        self.decoder.conv_out = PixelShuffleConv2d(last.in_channels, last.out_channels)

    @classmethod
    def from_autoencoder(
        cls, autoencoder: AutoencoderKL, start: Start = "average"
    ) -> "ScaleConsistentAutoencoderKL":
        """A student of `autoencoder` (F=8, four levels); its weights are copies.

        Raises:
            Diffusion4kError: `autoencoder` is no stock `AutoencoderKL` of four levels.
            UsageError: another start.
        """
        weights = {name: value.detach().clone() for name, value in autoencoder.state_dict().items()}
        with torch.device("meta"):
            student = cls(**f16_config(autoencoder))
        weights["encoder.conv_in.weight"] = first_kernel(weights["encoder.conv_in.weight"], start)
        last, bias = (weights[f"decoder.conv_out.{part}"] for part in ("weight", "bias"))
        weights["decoder.conv_out.weight"] = _last_kernel(last)
        weights["decoder.conv_out.bias"] = bias.repeat_interleave(4)
        student.load_state_dict(weights, assign=True)
        return student.train(autoencoder.training)

    def to_autoencoder(self) -> AutoencoderKL:
        """Not possible.

        Raises:
            UsageError: always: its first and last convolutions have no F=8 form.
        """
        raise UsageError(
            "ScaleConsistentAutoencoderKL: cannot go back to F=8: use the autoencoder it was "
            "trained from"
        )


def first_kernel(weight: Tensor, start: Start) -> Tensor:
    """`(O, C, 3, 3)` of stride 1 to `(O, C, 4, 4)` of stride 2, padding 1; see the module's text.

    Raises:
        UsageError: neither `average` nor `stride`.
    """
    if start not in get_args(Start):
        raise UsageError(f"start: found {start!r}, allowed {' or '.join(get_args(Start))}")
    if start == "stride":
        return F.pad(weight, (0, 1, 0, 1))
    shifts = [(left, top) for left in (0, 1) for top in (0, 1)]
    taps = [F.pad(weight, (left, 1 - left, top, 1 - top)) for left, top in shifts]
    return torch.stack(taps).mean(0)


def _last_kernel(weight: Tensor) -> Tensor:
    """`(O, C, 3, 3)` after nearest x2 to `(4 O, C, 3, 3)` before a pixel shuffle."""
    rows = _phases(weight, axis=2, phase_axis=1)  # (O, 2, C, 3, 3)
    return _phases(rows, axis=4, phase_axis=2).flatten(0, 2)


def _phases(weight: Tensor, axis: int, phase_axis: int) -> Tensor:
    before, centre, after = weight.unbind(axis)
    none = torch.zeros_like(centre)
    even = torch.stack((before, centre + after, none), axis)
    odd = torch.stack((none, before + centre, after), axis)
    return torch.stack((even, odd), phase_axis)
