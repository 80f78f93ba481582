"""What lean passes take, known from sizes alone: memory and floating-point operations."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffusion4k.vae.layer import Layer, Summand
from diffusion4k.vae.layouts import layout_of
from diffusion4k.vae.lean import parse_memory
from diffusion4k.vae.strips import Attention, LeastMemory, MapSize, comfortable, query_cost

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
    layout = layout_of(autoencoder)
    latents = passes.new_map(layout.latent_channels(autoencoder), height, width)
    return passes.cost(layout.decode(passes, autoencoder, latents))


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
    layout = layout_of(autoencoder)
    image = _Image(layout.image_channels(autoencoder), height, width)
    return passes.cost(layout.encode(passes, autoencoder, image))


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
        self.gpu = gpu
        self.budget = parse_memory(max_memory)
        self.capacity = None if self.budget is None else self.budget // 2
        self.held = self.peak = self.flops = 0

    def cost(self, made: Iterable[Any]) -> PassCost:
        """Cost of the passes that make the strips."""
        for _ in made:
            pass
        return PassCost(self.peak, self.flops)

    def new_map(self, channels: int, height: int, width: int) -> Any:
        size = channels * height * width * self.workspace.dtype.itemsize
        fits = self.capacity is None or self.held + size <= self.capacity
        self.held += size if fits else 0
        self._count_statistics(channels * height * width)
        return _Map(channels, height, width, self, size if fits else 0)

    def attend(self, x: Any, attention: Attention) -> None:
        tokens, wide, inner = x.height * x.width, x.channels, attention.channels
        # Keys and values of all pixels, and about as much again for the queries of a strip.
        beside = 2 * tokens * inner * self.workspace.dtype.itemsize
        row = query_cost(x, self.workspace)
        most = self.limit(comfortable(self.budget, gpu=self.gpu))
        rows = max(1, min(x.height, most // row))
        self.peak = max(self.peak, self.held + beside + row * rows)
        self.flops += 2 * tokens * inner * (4 * wide + 2 * tokens)
        self._count_statistics(wide * tokens)

    def fill(
        self,
        made: Any,
        source: Any,
        layer: Layer,
        add: Summand | None = None,
        scale: float = 1.0,
    ) -> None:
        self._count(source, layer, add, is_kept=True)

    def strips(
        self, source: Any, layer: Layer, add: Summand | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        self._count(source, layer, add, is_kept=False)
        return iter(())

    def _count(self, source: Any, layer: Layer, add: Summand | None, *, is_kept: bool) -> None:
        height, width = layer.size(source.height), layer.size(source.width)
        rows = self.rows(layer, source.width, height)
        strips = -(-height // rows)
        first, last = layer.inputs(0, rows)
        dtype = self.workspace.dtype
        row_in = layer.channels_in * (source.width + sum(layer.pads)) * dtype.itemsize
        pixels_out = rows * width * dtype.itemsize
        strip_in, strip_out = (last - first) * row_in, pixels_out * layer.channels_out
        # A pixel shuffle makes a copy, and so does what brings it into the order of the map.
        copies = 2 if layer.outputs_per_step > 1 else 1
        made = copies * strip_out + pixels_out * layer.working
        if layer.before.macs:
            made = max(made, strip_in)
        # What is added is made of rows, if it is not they themselves, in two steps if their number
        # changes.
        added = counted = 0
        if add is not None and (add.run or not add.source.held):
            read = rows * add.down // add.up * add.source.width * add.source.channels
            resampled = add.up != 1 or add.down != 1
            added = strip_out + (max(strip_out, read * dtype.itemsize) if resampled else 0)
        if is_kept and self.workspace.statistics and dtype.itemsize < 4:
            counted = strip_out * 4 // dtype.itemsize  # They are of a copy in float32.
        written = (copies if is_kept else 1) * strip_out + max(added, counted)
        beside = strip_in + max(made, written)
        if strips > 1:
            # The first strip is there until the second one is, and what came of it until the next.
            second = min(rows, height - rows) / rows
            entering = strip_in + strip_out + int(second * strip_in)
            beside = max(beside, entering, strip_out + int(second * (strip_in + made)))
        if not source.held:  # Read from a file.
            beside += strip_in
        self.peak = max(self.peak, self.held + beside)
        self.flops += layer.flops(source.height, source.width, strips)
        if add is not None:
            self.flops += 2 * add.macs * add.source.height * add.source.width

    def _count_statistics(self, numbers: int) -> None:
        # Of what is written; on the CPU they are two products with ones.
        counted = self.workspace.statistics and not self.gpu
        self.flops += 4 * numbers if counted else 0
