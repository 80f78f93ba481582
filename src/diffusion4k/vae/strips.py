"""An autoencoder's layers as passes over strips of rows, and what the least strip costs.

What `lean` describes is done here, layer by layer; which layers there are, and in which order, is
known to the file of each kind of autoencoder in `layouts`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion4k.vae.feature_map import FeatureMap, Workspace
from diffusion4k.vae.layer import Layer, PixelStep, Rows, Summand, activate

__all__ = ["Attention", "ImageRows", "LeastMemory", "MapSize", "StripPasses", "comfortable"]

# Bytes for a strip where nothing limits it: on the CPU larger ones are slower, on a GPU each one
# costs a dozen kernels.
_COMFORTABLE = 2**25
_COMFORTABLE_ON_GPU = 2**30
# Of a layer that computes something for the rows around a strip, too: the fewer strips the better.
_COMFORTABLE_WITH_HALO = 2**28


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


@dataclass(frozen=True)
class Attention:
    """Self-attention over all pixels: each function is one of tokens `(1, n, C)`."""

    norm: nn.GroupNorm | PixelStep
    query: Rows
    key: Rows
    value: Rows
    out: Rows
    channels: int  # of keys and of values
    heads: int = 1
    scale: float = 1.0  # the sum is divided by it


class StripPasses:
    """One image on its way through encoder or decoder: the layers, each a pass over strips."""

    def __init__(self, budget: int | None, network: nn.Module) -> None:
        parameter = next(network.parameters())
        self.budget = budget
        self.gpu = parameter.device.type != "cpu"
        # Half for maps, half for the strips at work.
        capacity = None if budget is None else budget // 2
        normed = any(isinstance(module, nn.GroupNorm) for module in network.modules())
        self.workspace = Workspace(capacity, parameter.device, parameter.dtype, statistics=normed)

    def new_map(self, channels: int, height: int, width: int) -> Any:
        """An empty `FeatureMap`."""
        return self.workspace.new_map(channels, height, width)

    def load(self, tensor: Tensor) -> FeatureMap:
        """`tensor` `(1, C, H, W)` as a map."""
        made = self.new_map(*tensor.shape[1:])
        made.write(0, tensor.to(self.workspace.device, self.workspace.dtype))
        return made

    def convolve(
        self, source: Any, layer: Layer, add: Summand | None = None, *, keep: bool = False
    ) -> FeatureMap:
        """The layer of the whole map, and what is added to it; the map is closed unless kept."""
        height, width = layer.size(source.height), layer.size(source.width)
        made = self.new_map(layer.channels_out, height, width)
        self.fill(made, source, layer, add)
        if not keep:
            source.close()
        return made

    def residual(
        self,
        source: Any,
        first: Layer,
        second: Layer,
        shortcut: Summand | None = None,
        *,
        scale: float = 1.0,
        keep: bool = False,
    ) -> FeatureMap:
        """`(second(first(source)) + source) / scale`, or with the shortcut in place of the source.

        The source is closed or overwritten unless it is kept.
        """
        hidden = self.convolve(source, first, keep=True)
        # Where the source itself is added, each strip of the sum takes the place of its summand.
        in_place = shortcut is None and not keep
        channels = second.channels_out
        made = source if in_place else self.new_map(channels, source.height, source.width)
        made.forget_statistics()
        self.fill(made, hidden, second, shortcut or Summand(source), scale)
        hidden.close()
        if made is not source and not keep:
            source.close()
        return made

    def fill(
        self,
        made: Any,
        source: Any,
        layer: Layer,
        add: Summand | None = None,
        scale: float = 1.0,
    ) -> None:
        """Write the layer's output, and what is added to it, into the map `made`."""
        for top, strip in self.strips(source, layer, add):
            made.write(top, strip if scale == 1 else strip / scale)

    def strips(
        self, source: Any, layer: Layer, add: Summand | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """The layer's output, and what is added to it, in strips of rows from the top."""
        workspace, before = self.workspace, layer.before
        scale, shift = None, None
        if before.norm is not None:
            scale, shift = _affine(source, before.norm, workspace)
        height = layer.size(source.height)
        padded_width = source.width + sum(layer.pads)
        rows = self.rows(layer, source.width, height)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            start, stop = layer.inputs(top, bottom)
            first, last = max(start, 0), min(stop, source.height)
            read = source.read(first, last).to(workspace.device, workspace.dtype)
            # Zero padding comes after what is done before the convolution.
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
            if scale is not None and shift is not None:
                torch.addcmul(shift, read, scale, out=inner)
            elif before.pixels is not None:
                before.pixels(read, inner)
            else:
                inner.copy_(read)
            if before.activation is not None:
                activate(inner, before.activation)
            made = layer(strip)
            if add is not None:
                made += add.rows(top, bottom)
            yield top, made

    def attend(self, x: Any, attention: Attention) -> None:
        """Self-attention over all pixels, added to `x` in place; queries come in strips."""
        workspace, width = self.workspace, x.width
        most = self.limit(comfortable(self.budget, gpu=self.gpu))
        rows = max(1, min(x.height, most // query_cost(x, workspace)))
        tokens = self._tokens(x, attention.norm)

        def heads(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        shape = (1, x.height * width, attention.channels)
        keys, values = (
            torch.empty(shape, dtype=workspace.dtype, device=workspace.device) for _ in range(2)
        )
        spans = [(top, min(top + rows, x.height)) for top in range(0, x.height, rows)]
        for start, stop in spans:
            these = tokens(start, stop)
            place = slice(start * width, stop * width)
            keys[:, place], values[:, place] = attention.key(these), attention.value(these)
        x.forget_statistics()
        for start, stop in spans:
            query = heads(attention.query(tokens(start, stop)))
            found = F.scaled_dot_product_attention(query, heads(keys), heads(values))
            found = attention.out(found.transpose(1, 2).flatten(2))
            found = found.unflatten(1, (-1, width)).permute(0, 3, 1, 2)
            found = found + x.read(start, stop)
            x.write(start, found / attention.scale)

    def _tokens(self, x: Any, norm: nn.GroupNorm | PixelStep) -> Any:
        """A function that gives normed tokens `(1, n, C)` of rows from one to another."""
        scale, shift = None, None
        if isinstance(norm, nn.GroupNorm):
            scale, shift = _affine(x, norm, self.workspace)

        def tokens(start: int, stop: int) -> Tensor:
            strip = x.read(start, stop)
            if scale is not None and shift is not None:
                strip = torch.addcmul(shift, strip, scale)
            else:
                normed = torch.empty_like(strip)
                norm(strip, normed)
                strip = normed
            return strip.permute(0, 2, 3, 1).flatten(1, 2)

        return tokens

    def rows(self, layer: Layer, width: int, height: int) -> int:
        """Rows of the output that one strip may have, of `height` in all."""
        most = comfortable(self.budget, gpu=self.gpu)
        if layer.before.macs:
            most = max(most, _COMFORTABLE_WITH_HALO)
        for_each, fixed = layer.cost(width, self.workspace.dtype)
        unit = layer.outputs_per_step
        steps = (self.limit(most) - fixed) // for_each
        return unit * max(1, min(-(-height // unit), steps))

    def limit(self, size: int) -> int:
        """`size` bytes, or what the budget leaves to strips."""
        return size if self.budget is None else min(size, self.budget - self.budget // 2)


class LeastMemory(StripPasses):
    """The same passes with nothing but sizes: `least` is the budget that they cannot do without."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(None, network)
        self.least = 0

    def new_map(self, channels: int, height: int, width: int) -> Any:
        """A map without contents."""
        return MapSize(channels, height, width)

    def attend(self, x: Any, attention: Attention) -> None:
        """Keys and values stand beside the map itself."""
        numbers = (2 * attention.channels + x.channels) * x.height * x.width
        held = numbers * self.workspace.dtype.itemsize
        self.least = max(self.least, 2 * held, 2 * query_cost(x, self.workspace))

    def strips(
        self, source: Any, layer: Layer, add: Summand | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """No strips, but the memory of the smallest one."""
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


def comfortable(budget: int | None, *, gpu: bool) -> int:
    """Bytes of a strip at most, within a budget of all maps and strips."""
    if not gpu:
        return _COMFORTABLE
    share = _COMFORTABLE_ON_GPU if budget is None else budget // 8
    return max(_COMFORTABLE, min(share, _COMFORTABLE_ON_GPU))


def query_cost(x: Any, workspace: Workspace) -> int:
    """Bytes of one row of queries."""
    # Tokens, queries, what they find, and the copies between.
    return 8 * x.width * x.channels * workspace.dtype.itemsize


def _affine(source: FeatureMap, norm: nn.GroupNorm, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Scale and shift `(1, C, 1, 1)` that the group norm comes to on this map."""
    mean, scale = source.group_statistics(norm.num_groups, norm.eps)
    weight, bias = (p.detach().to(mean.device).double() for p in (norm.weight, norm.bias))
    scale = scale * weight
    shift = bias - mean * scale
    return tuple(v.to(workspace.device, workspace.dtype).view(1, -1, 1, 1) for v in (scale, shift))  # type: ignore[return-value]
