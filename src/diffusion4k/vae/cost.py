"""What lean passes take, known from sizes alone: memory and floating-point operations."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffusion4k.vae.lean import decode_passes, encode_passes, parse_memory
from diffusion4k.vae.strips import Layer, LeastMemory, MapSize, comfortable, query_cost

__all__ = ["PassCost", "decode_cost", "encode_cost"]


@dataclass(frozen=True)
class PassCost:
    """Cost of decoding or encoding one image, without weights and the image itself."""

    memory: int
    """Most bytes of feature maps and strips at once."""
    flops: int
    """Floating-point operations; one multiply-add is two."""


def decode_cost(
    autoencoder: Any,
    height: int,
    width: int,
    max_memory: int | str | None = None,
    *,
    gpu: bool = False,
) -> PassCost:
    """What `decode_strips` takes for one latent of `height` x `width`, on a GPU or on the CPU.

    The autoencoder may be on the meta device.
    """
    passes = _Passes(autoencoder.decoder, max_memory, gpu=gpu)
    latents = passes.new_map(autoencoder.config.latent_channels, height, width)
    return passes.cost(decode_passes(passes, autoencoder, latents))


def encode_cost(
    autoencoder: Any,
    height: int,
    width: int,
    max_memory: int | str | None = None,
    *,
    gpu: bool = False,
) -> PassCost:
    """What `lean_encode` takes for one image of `height` x `width` pixels, on a GPU or on the CPU.

    The autoencoder may be on the meta device.
    """
    passes = _Passes(autoencoder.encoder, max_memory, gpu=gpu)
    image = _Image(autoencoder.config.in_channels, height, width)
    return passes.cost(encode_passes(passes, autoencoder, image))


@dataclass
class _Image(MapSize):
    held = True  # in memory, where no budget counts it


@dataclass
class _Map(MapSize):
    passes: "_Passes"
    held: int

    def close(self) -> None:
        self.passes.held -= self.held
        self.held = 0


class _Passes(LeastMemory):
    """The passes over strips with nothing but sizes."""

    def __init__(self, network: Any, max_memory: int | str | None, *, gpu: bool) -> None:
        super().__init__(network)
        budget = parse_memory(max_memory)
        self.comfortable = comfortable(budget, gpu=gpu)
        self._gpu = gpu
        self.budget = budget
        self.capacity = None if budget is None else budget // 2
        self.held = self.peak = self.flops = 0
        self._in_residual = False

    def cost(self, made: Iterable[Any]) -> PassCost:
        """Cost of the passes that make the strips."""
        for _ in made:
            pass
        return PassCost(self.peak, self.flops)

    def new_map(self, channels: int, height: int, width: int) -> Any:
        size = channels * height * width * self.workspace.dtype.itemsize
        fits = self.capacity is None or self.held + size <= self.capacity
        self.held += size if fits else 0
        # Statistics of what is written: on the CPU two products with ones.
        self.flops += 0 if self._gpu else 4 * channels * height * width
        return _Map(channels, height, width, self, size if fits else 0)

    def residual(self, source: Any, block: Any) -> Any:
        if block.conv_shortcut is not None:
            channels = block.conv1.in_channels * block.conv2.out_channels
            self.flops += 2 * channels * source.height * source.width
        self._in_residual = True
        made = super().residual(source, block)
        self._in_residual = False
        return made

    def _attend(self, x: Any, attention: Any) -> None:
        tokens, wide = x.height * x.width, x.channels
        # Keys and values of all pixels, and about as much again for the queries of a strip.
        beside = 2 * tokens * wide * self.workspace.dtype.itemsize
        row = query_cost(x, self.workspace)
        self.peak = max(self.peak, self.held + beside + row * self._rows(row, 0, x.height))
        self.flops += 2 * tokens * wide * (4 * wide + 2 * tokens)
        self.flops += 0 if self._gpu else 4 * wide * tokens

    def _pass(self, source: Any, layer: Layer, *_: Any) -> Iterator[tuple[int, Tensor]]:
        unit = layer.outputs_per_step
        height = layer.size(source.height)
        dtype = self.workspace.dtype
        steps = self._rows(*layer.cost(source.width, dtype), -(-height // unit))
        strips = -(-height // (unit * steps))
        first, last = layer.inputs(0, unit * steps)
        row_in = layer.channels_in * (source.width + sum(layer.pads)) * dtype.itemsize
        row_out = layer.channels_out * layer.size(source.width) * dtype.itemsize
        strip_in, strip_out = (last - first) * row_in, unit * steps * row_out
        # The strip before is there until the next one is, and a pixel shuffle makes a copy.
        made = ((2 if unit > 1 else 1) + (strips > 1)) * strip_out
        # A sum is divided before it is written; statistics are taken of a float32 copy.
        written = (2 if self._in_residual else 1) * strip_out
        written += strip_out * 4 // dtype.itemsize if dtype.itemsize < 4 else 0
        beside = strip_in + max(strip_in + strip_out, made, written)
        if not source.held:  # Read from a file.
            beside += strip_in
        self.peak = max(self.peak, self.held + beside)
        self.flops += layer.flops(source.height, source.width, strips)
        return iter(())
