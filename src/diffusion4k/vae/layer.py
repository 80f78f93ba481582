"""One layer of an autoencoder as it is run on strips of rows: which rows it needs, what it costs.

A layer here is what lies between two feature maps: what is done to each pixel before (a norm, an
activation, a 1x1 convolution), a convolution without its zero padding, and what is done to each
pixel after it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.vae.scale_consistent import PixelShuffleConv2d
from diffusion4k.vae.subpixel import SubPixelConv2d

__all__ = ["Before", "Layer", "PixelStep", "Rows", "Summand", "activate", "check_plain"]

Rows = Callable[[Tensor], Tensor]
"""From rows `(1, C, rows, W)` to what becomes of them."""
PixelStep = Callable[[Tensor, Tensor], None]
"""Writes what becomes of each pixel of the first argument into the second."""


@dataclass(frozen=True)
class Before:
    """What is done to each pixel before the convolution pads with zeros."""

    norm: nn.GroupNorm | None = None
    """Its statistics are those of the whole map."""
    pixels: PixelStep | None = None
    """In place of a norm: depends on the pixel alone, and may change the number of channels."""
    activation: nn.Module | None = None
    macs: int = 0
    """Multiply-adds of `pixels` for one pixel."""


@dataclass(frozen=True)
class Layer:
    """A convolution without its vertical padding, and which rows it needs for which."""

    run: Rows
    kernel: int
    stride: int
    pads: tuple[int, int]  # before and after, on both axes
    channels_in: int  # as the convolution sees them
    channels_out: int
    macs: int  # multiply-adds for one position of the kernel
    outputs_per_step: int = 1  # 2: sub-pixel
    folded: bool = False  # a 2x2 convolution for four phases, one position more on each axis
    working: int = 0  # numbers that `run` holds for a pixel of its output, beside input and output
    before: Before = field(default_factory=Before)

    @classmethod
    def of(
        cls,
        conv: nn.Conv2d,
        pads: tuple[int, int] | None = None,
        *,
        after: Rows | None = None,
        **before: Any,
    ) -> "Layer":
        """A plain, sub-pixel or pixel-shuffle convolution.

        Args:
            conv: the module.
            pads: rows and columns of zeros before and after; by default the module's own.
            after: done to the output.
            before: as for `Before`.

        Raises:
            UsageError: a convolution with groups, dilation, or another padding than zeros.
        """
        if isinstance(conv, SubPixelConv2d | PixelShuffleConv2d):
            folded = isinstance(conv, SubPixelConv2d)
            pads, step = (1, 1), 2
            run: Rows = conv.without_padding
            kernel, stride = 3, 1
            channels_out = conv.out_channels if folded else conv.out_channels // 4
            macs = (4 if folded else 9) * 4 * conv.in_channels * channels_out
        else:
            check_plain(conv)
            (kernel, _), (stride, _) = conv.kernel_size, conv.stride
            run = partial(F.conv2d, weight=conv.weight, bias=conv.bias, stride=conv.stride)
            if pads is None:
                side = int(conv.padding[0])
                pads = (side, side)
            folded, step, channels_out = False, 1, conv.out_channels
            macs = kernel**2 * conv.in_channels * channels_out
        return cls(
            run=run if after is None else _one_after_the_other(run, after),
            kernel=kernel,
            stride=stride,
            pads=pads,
            channels_in=conv.in_channels,
            channels_out=channels_out,
            macs=macs,
            outputs_per_step=step,
            folded=folded,
            before=Before(**before),
        )

    def size(self, side: int) -> int:
        """Length of the output's side."""
        steps = (side + sum(self.pads) - self.kernel) // self.stride + 1
        return self.outputs_per_step * steps

    def cost(self, width: int, dtype: torch.dtype) -> tuple[int, int]:
        """Bytes of a strip for each further step of its output, and apart from that.

        Counted are the strip as it is read, as the convolution takes it, and as it comes out
        (twice: a pixel shuffle, a sum or the layout of the library wants a copy).
        """
        row_in = (2 * width + sum(self.pads)) * self.channels_in * dtype.itemsize
        row_out = self.size(width) * (2 * self.channels_out + self.working) * dtype.itemsize
        return self.stride * row_in + self.outputs_per_step * row_out, self.kernel * row_in

    def flops(self, height: int, width: int, strips: int) -> int:
        """Floating-point operations for a whole map of that size, taken in so many strips."""
        rows, columns = (self.size(side) // self.outputs_per_step for side in (height, width))
        if self.folded:
            return 2 * self.macs * (rows + strips) * (columns + 1)
        # Each strip but the first computes the rows above it again.
        again = (strips - 1) * max(self.kernel - self.stride, 0)
        return 2 * self.macs * rows * columns + 2 * self.before.macs * (height + again) * width

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """The input rows, padding included, of the output rows from `start` to `stop`."""
        first, last = start // self.outputs_per_step, -(-stop // self.outputs_per_step)
        first = self.stride * first - self.pads[0]
        return first, self.stride * (last - 1) - self.pads[0] + self.kernel

    def __call__(self, strip: Tensor) -> Tensor:
        return self.run(strip)


@dataclass(frozen=True)
class Summand:
    """What is added to a layer's output: rows of an earlier map, or what `run` makes of them."""

    source: Any
    run: Rows | None = None
    up: int = 1  # rows of the sum for one of the source
    down: int = 1  # rows of the source for one of the sum
    macs: int = 0  # multiply-adds for one pixel of the source

    def rows(self, start: int, stop: int) -> Tensor:
        """What is added to rows `start` to `stop`."""
        read = self.source.read(start * self.down // self.up, stop * self.down // self.up)
        return read if self.run is None else self.run(read)


def _one_after_the_other(first: Rows, second: Rows) -> Rows:
    return lambda rows: second(first(rows))


def check_plain(conv: nn.Conv2d) -> None:
    """Refuse what `Layer.of` cannot run on strips.

    Raises:
        UsageError: a convolution with groups, dilation, or another padding than zeros.
    """
    if conv.groups != 1 or conv.dilation != (1, 1) or conv.padding_mode != "zeros":
        raise UsageError(f"{conv}: only plain convolutions with zero padding are supported")


def activate(inner: Tensor, activation: nn.Module) -> None:
    """The activation in place."""
    if isinstance(activation, nn.SiLU):
        F.silu(inner, inplace=True)
    elif isinstance(activation, nn.ReLU):
        inner.relu_()
    else:
        inner.copy_(activation(inner))
