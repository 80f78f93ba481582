"""The layers of an autoencoder as passes over strips of rows, and what the least strip costs.

What `lean` describes is done here, layer by layer; the order of the layers is known there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.vae.feature_map import FeatureMap, Workspace
from diffusion4k.vae.scale_consistent import PixelShuffleConv2d
from diffusion4k.vae.subpixel import SubPixelConv2d

__all__ = ["ImageRows", "LeastMemory", "MapSize", "StripPasses", "comfortable"]

# Bytes for a strip where nothing limits it: on the CPU larger ones are slower, on a GPU each one
# costs a dozen kernels.
_COMFORTABLE = 2**25
_COMFORTABLE_ON_GPU = 2**30


@dataclass
class ImageRows:
    """A tensor `(1, C, H, W)` that is read like a feature map."""

    tensor: Tensor

    def __post_init__(self) -> None:
        self.channels, self.height, self.width = self.tensor.shape[1:]

    def read(self, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop`, `(1, C, rows, W)`."""
        return self.tensor[:, :, start:stop]

    def close(self) -> None:
        """Nothing is held."""


class StripPasses:
    """One image on its way through encoder or decoder: the layers, each a pass over strips."""

    def __init__(self, budget: int | None, network: nn.Module) -> None:
        parameter = next(network.parameters())
        self.budget = budget
        self.comfortable = comfortable(budget, gpu=parameter.device.type != "cpu")
        # Half for maps, half for the strips at work.
        capacity = None if budget is None else budget // 2
        self.workspace = Workspace(capacity, parameter.device, parameter.dtype)

    def new_map(self, channels: int, height: int, width: int) -> Any:
        """An empty `FeatureMap`."""
        return self.workspace.new_map(channels, height, width)

    def load(self, tensor: Tensor) -> FeatureMap:
        """`tensor` `(1, C, H, W)` as a map."""
        made = self.new_map(*tensor.shape[1:])
        made.write(0, tensor.to(self.workspace.device, self.workspace.dtype))
        return made

    def convolve(
        self, source: Any, conv: nn.Conv2d, pads: tuple[int, int] | None = None
    ) -> FeatureMap:
        """`conv` of the whole map, which is closed then."""
        layer = Layer.of(conv, pads)
        made = self.new_map(conv.out_channels, layer.size(source.height), layer.size(source.width))
        for top, strip in self._pass(source, layer):
            made.write(top, strip)
        source.close()
        return made

    def strips(
        self, source: FeatureMap, conv: nn.Conv2d, norm: nn.GroupNorm, activation: nn.Module
    ) -> Iterator[tuple[int, Tensor]]:
        """`conv(activation(norm(source)))`, strip by strip."""
        return self._pass(source, Layer.of(conv), norm, activation)

    def residual(self, source: FeatureMap, block: Any) -> FeatureMap:
        """A stock `ResnetBlock2D` without time embedding; `source` is closed or overwritten."""
        if block.time_emb_proj is not None or block.upsample or block.downsample:
            raise UsageError("a residual block with time embedding or resampling is not supported")
        activation = block.nonlinearity
        hidden = self.new_map(block.conv1.out_channels, source.height, source.width)
        for top, strip in self._pass(source, Layer.of(block.conv1), block.norm1, activation):
            hidden.write(top, strip)
        shortcut = block.conv_shortcut
        # Without a shortcut convolution each strip of the sum takes the place of its summand.
        channels = block.conv2.out_channels
        made = source if shortcut is None else self.new_map(channels, source.height, source.width)
        made.forget_statistics()
        for top, strip in self._pass(hidden, Layer.of(block.conv2), block.norm2, activation):
            summand = source.read(top, top + strip.shape[2])
            strip += summand if shortcut is None else shortcut(summand)
            made.write(top, strip / block.output_scale_factor)
        hidden.close()
        if made is not source:
            source.close()
        return made

    def middle(self, x: FeatureMap, block: Any) -> FeatureMap:
        """A stock `UNetMidBlock2D`."""
        x = self.residual(x, block.resnets[0])
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            if attention is not None:
                self._attend(x, attention)
            x = self.residual(x, resnet)
        return x

    def _attend(self, x: FeatureMap, attention: Any) -> None:
        """Self-attention over all pixels, added to `x` in place; queries come in strips."""
        workspace = self.workspace
        affine = _affine(x, attention.group_norm, workspace)
        rows = self._rows(query_cost(x, workspace), 0, x.height)
        count = x.height * x.width

        def tokens(start: int) -> Tensor:
            strip = torch.addcmul(affine[1], x.read(start, min(start + rows, x.height)), affine[0])
            return strip.permute(0, 2, 3, 1).flatten(1, 2)

        def heads(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        keys, values = (
            torch.empty((1, count, linear.out_features), dtype=affine[0].dtype, device=x.device)
            for linear in (attention.to_k, attention.to_v)
        )
        starts = range(0, x.height, rows)
        for start in starts:
            these = tokens(start)
            place = slice(start * x.width, start * x.width + these.shape[1])
            keys[:, place], values[:, place] = attention.to_k(these), attention.to_v(these)
        x.forget_statistics()
        for start in starts:
            query = heads(attention.to_q(tokens(start)))
            found = F.scaled_dot_product_attention(query, heads(keys), heads(values))
            found = attention.to_out[0](found.transpose(1, 2).flatten(2))
            found = found.unflatten(1, (-1, x.width)).permute(0, 3, 1, 2)
            found = found + x.read(start, start + found.shape[2])
            x.write(start, found / attention.rescale_output_factor)

    def _pass(
        self,
        source: Any,
        layer: "Layer",
        norm: nn.GroupNorm | None = None,
        activation: nn.Module | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """The layer's output in strips of rows, from the top."""
        workspace = self.workspace
        scale, shift = (None, None) if norm is None else _affine(source, norm, workspace)
        height = layer.size(source.height)
        padded_width = source.width + sum(layer.pads)
        unit = layer.outputs_per_step
        rows = unit * self._rows(*layer.cost(source.width, workspace.dtype), -(-height // unit))
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            start, stop = layer.inputs(top, bottom)
            first, last = max(start, 0), min(stop, source.height)
            read = source.read(first, last).to(workspace.device, workspace.dtype)
            # Zero padding comes after norm and activation.
            strip = torch.empty(
                (1, layer.channels_in, stop - start, padded_width),
                dtype=workspace.dtype,
                device=workspace.device,
                memory_format=torch.channels_last,
            )
            left, right = layer.pads
            edges = (
                strip[:, :, : first - start],
                strip[:, :, last - start :],
                strip[:, :, :, :left],
                strip[:, :, :, padded_width - right :],
            )
            for edge in edges:
                if edge.numel():
                    edge.zero_()
            inner = strip[:, :, first - start : last - start, left : left + source.width]
            if scale is None or shift is None:
                inner.copy_(read)
            else:
                torch.addcmul(shift, read, scale, out=inner)
                if activation is not None:
                    _activate(inner, activation)
            yield top, layer(strip)

    def _rows(self, bytes_per_row: int, fixed: int, most: int) -> int:
        """How many rows of such cost one strip may have."""
        available = self.comfortable
        if self.budget is not None:
            available = min(available, self.budget - self.budget // 2)
        return max(1, min(most, (available - fixed) // bytes_per_row))


class LeastMemory(StripPasses):
    """The same passes with nothing but sizes: `least` is the budget that they cannot do without."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(None, network)
        self.least = 0

    def new_map(self, channels: int, height: int, width: int) -> Any:
        """A map without contents."""
        return MapSize(channels, height, width)

    def _attend(self, x: Any, attention: Any) -> None:
        # Keys and values stand beside the map itself.
        held = 3 * x.channels * x.height * x.width * self.workspace.dtype.itemsize
        self.least = max(self.least, 2 * held, 2 * query_cost(x, self.workspace))

    def _pass(self, source: Any, layer: "Layer", *_: Any) -> Iterator[tuple[int, Tensor]]:
        self.least = max(self.least, 2 * sum(layer.cost(source.width, self.workspace.dtype)))
        return iter(())


@dataclass
class MapSize:
    """What `LeastMemory` knows of a map."""

    channels: int
    height: int
    width: int

    def close(self) -> None:
        """Nothing is held."""

    def forget_statistics(self) -> None:
        """Nothing is known of its values."""


@dataclass(frozen=True)
class Layer:
    """A convolution without its vertical padding, and which rows it needs for which."""

    run: Callable[[Tensor], Tensor]
    kernel: int
    stride: int
    pads: tuple[int, int]  # before and after, on both axes
    channels_in: int
    channels_out: int
    outputs_per_step: int = 1  # 2: sub-pixel
    folded: bool = False  # a 2x2 convolution for four phases, one position more on each axis

    @classmethod
    def of(cls, conv: nn.Conv2d, pads: tuple[int, int] | None = None) -> "Layer":
        if isinstance(conv, SubPixelConv2d):
            channels = conv.out_channels
            return cls(conv.without_padding, 3, 1, (1, 1), conv.in_channels, channels, 2, True)
        if isinstance(conv, PixelShuffleConv2d):
            channels = conv.out_channels // 4
            return cls(conv.without_padding, 3, 1, (1, 1), conv.in_channels, channels, 2)
        if conv.groups != 1 or conv.dilation != (1, 1) or conv.padding_mode != "zeros":
            raise UsageError(f"{conv}: only plain convolutions with zero padding are supported")
        (kernel, _), (stride, _) = conv.kernel_size, conv.stride

        def run(strip: Tensor) -> Tensor:
            return F.conv2d(strip, conv.weight, conv.bias, stride=stride)

        if pads is None:
            side = int(conv.padding[0])
            pads = (side, side)
        return cls(run, kernel, stride, pads, conv.in_channels, conv.out_channels)

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
        row_out = 2 * self.size(width) * self.channels_out * dtype.itemsize
        return self.stride * row_in + self.outputs_per_step * row_out, self.kernel * row_in

    def flops(self, height: int, width: int, strips: int) -> int:
        """Floating-point operations for a whole map of that size, taken in so many strips."""
        taps = self.channels_in * self.channels_out * self.outputs_per_step**2
        rows, columns = (self.size(side) // self.outputs_per_step for side in (height, width))
        if self.folded:
            return 2 * taps * 4 * (rows + strips) * (columns + 1)
        return 2 * taps * self.kernel**2 * rows * columns

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """The input rows, padding included, of the output rows from `start` to `stop`."""
        first, last = start // self.outputs_per_step, -(-stop // self.outputs_per_step)
        first = self.stride * first - self.pads[0]
        return first, self.stride * (last - 1) - self.pads[0] + self.kernel

    def __call__(self, strip: Tensor) -> Tensor:
        return self.run(strip)


def comfortable(budget: int | None, *, gpu: bool) -> int:
    """Bytes of a strip at most, within a budget of all maps and strips."""
    if not gpu:
        return _COMFORTABLE
    share = _COMFORTABLE_ON_GPU if budget is None else budget // 8
    return max(_COMFORTABLE, min(share, _COMFORTABLE_ON_GPU))


def query_cost(x: Any, workspace: Workspace) -> int:
    # Tokens, queries, what they find, and the copies between.
    return 8 * x.width * x.channels * workspace.dtype.itemsize


def _affine(source: FeatureMap, norm: nn.GroupNorm, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Scale and shift `(1, C, 1, 1)` that the group norm comes to on this map."""
    mean, scale = source.group_statistics(norm.num_groups, norm.eps)
    weight, bias = (p.detach().to(mean.device).double() for p in (norm.weight, norm.bias))
    scale = scale * weight
    shift = bias - mean * scale
    return tuple(v.to(workspace.device, workspace.dtype).view(1, -1, 1, 1) for v in (scale, shift))  # type: ignore[return-value]


def _activate(inner: Tensor, activation: nn.Module) -> None:
    if isinstance(activation, nn.SiLU):
        F.silu(inner, inplace=True)
    else:
        inner.copy_(activation(inner))
