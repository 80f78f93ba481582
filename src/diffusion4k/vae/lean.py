"""Decoding and encoding at any size in bounded memory, with exactly the plain result.

Tiling bounds memory too, but sees each tile alone: group norms and attention differ from tile to
tile, and the seams must be blended away. Here the network is run layer by layer over the whole
image, each layer in strips of rows with the rows around them that its convolution needs. A group
norm needs the statistics of the whole map: they are gathered while the map is written
(`feature_map`), so that no layer is computed twice. Maps that the memory budget cannot hold stand
in a temporary file. What a strip gives is what the whole image would give there: no seams.

The budget counts feature maps and strips, not the weights, the result, or what Python and its
libraries take. For inference only: no gradients.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.vae.feature_map import FeatureMap, Workspace
from diffusion4k.vae.scale_consistent import PixelShuffleConv2d
from diffusion4k.vae.subpixel import SubPixelConv2d, fold_upsample

__all__ = ["decode_strips", "lean_decode", "lean_encode", "parse_memory"]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_COMFORTABLE = 2**25  # bytes for a strip where nothing limits it: larger ones are slower


def parse_memory(value: int | str | None) -> int | None:
    """Bytes of a size such as `4GiB`, `512 MB` or a plain number; both kinds of unit are binary.

    Raises:
        UsageError: not such a size, or none at all.
    """
    if value is None or isinstance(value, int):
        size = value
    else:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", value, re.IGNORECASE)
        if not found:
            raise UsageError(f"memory {value!r}: give a size like 4GiB or 512MiB")
        size = int(float(found[1]) * _UNITS[found[2].upper()])
    if size is not None and size <= 0:
        raise UsageError(f"memory {value!r}: must be more than nothing")
    return size


def lean_decode(autoencoder: Any, latents: Tensor, max_memory: int | str | None = None) -> Tensor:
    """`autoencoder.decode(latents).sample` in bounded memory.

    Arguments:
        autoencoder: `PartitionedAutoencoderKL`, or a diffusers autoencoder of the same layout.
        latents: `(B, C, h, w)`, not normalised.
        max_memory: bytes or a size like `"4GiB"` for feature maps and strips; `None`: no limit.

    Returns:
        Images `(B, 3, F h, F w)` in about [-1, 1].

    Raises:
        UsageError: latents of a wrong shape, or with NaN or infinity; a budget that cannot hold one
            strip (the error says what can); an autoencoder of another layout.
        Diffusion4kError: no room on the disk for what the budget keeps out of memory.
    """
    images: Tensor | None = None
    for i, single in enumerate(latents.split(1)):
        for top, strip in decode_strips(autoencoder, single, max_memory):
            if images is None:
                factor = strip.shape[-1] // latents.shape[-1]
                images = strip.new_empty(
                    (len(latents), strip.shape[1], factor * latents.shape[-2], strip.shape[-1])
                )
            images[i, :, top : top + strip.shape[-2]] = strip[0]
    assert images is not None
    return images


@torch.inference_mode()
def decode_strips(
    autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
) -> Iterator[tuple[int, Tensor]]:
    """The decoded image of one latent `(1, C, h, w)`, strip by strip from the top.

    Yields:
        The number of the strip's first row, and the strip `(1, 3, rows, F w)`.

    Raises:
        As `lean_decode`.
    """
    _check_latents(autoencoder, latents)
    decoder = autoencoder.decoder
    run = _Run(max_memory, latents, decoder)
    x = run.load(latents)
    if getattr(autoencoder, "post_quant_conv", None) is not None:
        x = run.convolve(x, autoencoder.post_quant_conv)
    x = run.convolve(x, decoder.conv_in)
    x = run.middle(x, decoder.mid_block)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = run.residual(x, resnet)
        for upsampler in getattr(block, "upsamplers", None) or []:
            conv = upsampler.conv
            x = run.convolve(x, conv if isinstance(conv, SubPixelConv2d) else fold_upsample(conv))
    yield from run.strips(x, decoder.conv_out, decoder.conv_norm_out, decoder.conv_act)
    x.close()


@torch.inference_mode()
def lean_encode(
    autoencoder: Any, image: Tensor, max_memory: int | str | None = None
) -> DiagonalGaussianDistribution:
    """`autoencoder.encode(image).latent_dist` in bounded memory.

    Arguments:
        autoencoder: as for `lean_decode`.
        image: `(B, 3, H, W)` in [-1, 1]; sides are multiples of the autoencoder's factor.
        max_memory: as for `lean_decode`; the image itself is not counted.

    Returns:
        The posterior of latents `(B, C, H/F, W/F)`.

    Raises:
        As `lean_decode`.
    """
    _check_image(autoencoder, image)
    encoder = autoencoder.encoder
    moments = []
    for single in image.split(1):
        run = _Run(max_memory, single, encoder)
        x = run.convolve(_Image(single), encoder.conv_in)
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                x = run.residual(x, resnet)
            for downsampler in getattr(block, "downsamplers", None) or []:
                # Stock downsampling pads one row below and one column to the right.
                pads = (0, 1) if downsampler.padding == 0 else None
                x = run.convolve(x, downsampler.conv, pads=pads)
        x = run.middle(x, encoder.mid_block)
        strips = run.strips(x, encoder.conv_out, encoder.conv_norm_out, encoder.conv_act)
        moment = torch.cat([strip for _, strip in strips], dim=2)
        x.close()
        if getattr(autoencoder, "quant_conv", None) is not None:
            moment = autoencoder.quant_conv(moment)
        moments.append(moment)
    return DiagonalGaussianDistribution(torch.cat(moments))


@dataclass
class _Image:
    """A tensor `(1, C, H, W)` that is read like a feature map."""

    tensor: Tensor

    def __post_init__(self) -> None:
        self.channels, self.height, self.width = self.tensor.shape[1:]

    def read(self, start: int, stop: int) -> Tensor:
        return self.tensor[:, :, start:stop]

    def close(self) -> None: ...


class _Run:
    """One image on its way through encoder or decoder: the layers, each a pass over strips."""

    def __init__(self, max_memory: int | str | None, sample: Tensor, network: nn.Module) -> None:
        parameter = next(network.parameters())
        self.budget = parse_memory(max_memory)
        # Half for maps, half for the strips at work.
        capacity = None if self.budget is None else self.budget // 2
        self.workspace = Workspace(capacity, parameter.device, parameter.dtype)

    def load(self, tensor: Tensor) -> FeatureMap:
        """`tensor` `(1, C, H, W)` as a map."""
        made = self.workspace.new_map(*tensor.shape[1:])
        made.write(0, tensor.to(self.workspace.device, self.workspace.dtype))
        return made

    def convolve(
        self, source: Any, conv: nn.Conv2d, pads: tuple[int, int] | None = None
    ) -> FeatureMap:
        """`conv` of the whole map, which is closed then."""
        layer = _Layer.of(conv, pads)
        made = self.workspace.new_map(
            conv.out_channels, layer.size(source.height), layer.size(source.width)
        )
        for top, strip in self._pass(source, layer):
            made.write(top, strip)
        source.close()
        return made

    def strips(
        self, source: FeatureMap, conv: nn.Conv2d, norm: nn.GroupNorm, activation: nn.Module
    ) -> Iterator[tuple[int, Tensor]]:
        """`conv(activation(norm(source)))`, strip by strip."""
        return self._pass(source, _Layer.of(conv), norm, activation)

    def residual(self, source: FeatureMap, block: Any) -> FeatureMap:
        """A stock `ResnetBlock2D` without time embedding; `source` is closed or overwritten."""
        if block.time_emb_proj is not None or block.upsample or block.downsample:
            raise UsageError("a residual block with time embedding or resampling is not supported")
        activation = block.nonlinearity
        hidden = self.workspace.new_map(block.conv1.out_channels, source.height, source.width)
        for top, strip in self._pass(source, _Layer.of(block.conv1), block.norm1, activation):
            hidden.write(top, strip)
        shortcut = block.conv_shortcut
        # Without a shortcut convolution each strip of the sum takes the place of its summand.
        channels = block.conv2.out_channels
        made = (
            source
            if shortcut is None
            else self.workspace.new_map(channels, source.height, source.width)
        )
        made.forget_statistics()
        for top, strip in self._pass(hidden, _Layer.of(block.conv2), block.norm2, activation):
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
        size = 2 * x.channels * x.height * x.width * workspace.dtype.itemsize
        if self.budget is not None and size > self.budget - workspace.held:
            raise UsageError(
                f"memory of {_mebibytes(self.budget)} cannot hold the keys and values of the "
                f"middle attention: allow at least {_mebibytes(size + workspace.held)}"
            )
        affine = _affine(x, attention.group_norm, workspace)
        rows = self._rows(x.width * x.channels * 8 * workspace.dtype.itemsize, 0, x.height)
        heads = attention.heads

        def split(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)

        def tokens(start: int) -> Tensor:
            strip = torch.addcmul(affine[1], x.read(start, min(start + rows, x.height)), affine[0])
            return strip.permute(0, 2, 3, 1).flatten(1, 2)

        starts = range(0, x.height, rows)
        keys = split(torch.cat([attention.to_k(tokens(start)) for start in starts], dim=1))
        values = split(torch.cat([attention.to_v(tokens(start)) for start in starts], dim=1))
        workspace.held += size
        x.forget_statistics()
        for start in starts:
            query = split(attention.to_q(tokens(start)))
            found = F.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
            found = attention.to_out[0](found).unflatten(1, (-1, x.width)).permute(0, 3, 1, 2)
            found = found + x.read(start, start + found.shape[2])
            x.write(start, found / attention.rescale_output_factor)
        workspace.held -= size

    def _pass(
        self,
        source: Any,
        layer: "_Layer",
        norm: nn.GroupNorm | None = None,
        activation: nn.Module | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """The layer's output in strips of rows, from the top."""
        workspace, itemsize = self.workspace, self.workspace.dtype.itemsize
        scale, shift = (None, None) if norm is None else _affine(source, norm, workspace)
        height = layer.size(source.height)
        padded_width = source.width + sum(layer.pads)
        # A strip as it is read, as the convolution takes it, and as it comes out (twice: a pixel
        # shuffle, a sum and the layout of the library each want a copy).
        row_in = (source.width + padded_width) * layer.channels_in * itemsize
        row_out = 2 * layer.size(source.width) * layer.channels_out * itemsize
        unit = layer.outputs_per_step
        rows = unit * self._rows(
            layer.stride * row_in + unit * row_out, layer.kernel * row_in, -(-height // unit)
        )
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
            strip[:, :, : first - start] = 0
            strip[:, :, last - start :] = 0
            strip[:, :, :, :left] = 0
            strip[:, :, :, padded_width - right :] = 0
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
        available = _COMFORTABLE
        if self.budget is not None:
            available = min(available, self.budget - self.budget // 2)
            if available < bytes_per_row + fixed:
                needed = 2 * (bytes_per_row + fixed)
                raise UsageError(
                    f"memory of {_mebibytes(self.budget)} cannot hold one strip of the image: "
                    f"allow at least {_mebibytes(needed)}"
                )
        return max(1, min(most, (available - fixed) // bytes_per_row))


@dataclass(frozen=True)
class _Layer:
    """A convolution without its vertical padding, and which rows it needs for which."""

    run: Callable[[Tensor], Tensor]
    kernel: int
    stride: int
    pads: tuple[int, int]  # before and after, on both axes
    channels_in: int
    channels_out: int
    outputs_per_step: int = 1  # 2: sub-pixel

    @classmethod
    def of(cls, conv: nn.Conv2d, pads: tuple[int, int] | None = None) -> "_Layer":
        if isinstance(conv, SubPixelConv2d):
            return cls(conv.without_padding, 3, 1, (1, 1), conv.in_channels, conv.out_channels, 2)
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

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """The input rows, padding included, of the output rows from `start` to `stop`."""
        first, last = start // self.outputs_per_step, -(-stop // self.outputs_per_step)
        first = self.stride * first - self.pads[0]
        return first, self.stride * (last - 1) - self.pads[0] + self.kernel

    def __call__(self, strip: Tensor) -> Tensor:
        return self.run(strip)


def _affine(source: FeatureMap, norm: nn.GroupNorm, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Scale and shift `(1, C, 1, 1)` that the group norm comes to on this map."""
    mean, scale = source.group_statistics(norm.num_groups, norm.eps)
    weight, bias = (p.detach().double().cpu() for p in (norm.weight, norm.bias))
    scale = scale * weight
    shift = bias - mean * scale
    return tuple(v.to(workspace.device, workspace.dtype).view(1, -1, 1, 1) for v in (scale, shift))  # type: ignore[return-value]


def _activate(inner: Tensor, activation: nn.Module) -> None:
    if isinstance(activation, nn.SiLU):
        F.silu(inner, inplace=True)
    else:
        inner.copy_(activation(inner))


def _mebibytes(size: int) -> str:
    # Rounded up, for what an error names must be enough.
    return f"{math.ceil(size / 2**20 * 10) / 10} MiB"


def _check_layout(autoencoder: Any, part: str, blocks: str) -> None:
    network = getattr(autoencoder, part, None)
    norm = getattr(network, "conv_norm_out", None)
    if not hasattr(network, blocks) or not isinstance(norm, nn.GroupNorm):
        raise UsageError(
            f"{type(autoencoder).__name__}: its {part} is not of the AutoencoderKL layout "
            f"(conv_in, mid_block, {blocks}, group norm, conv_out), which lean passes know"
        )


def _check_latents(autoencoder: Any, latents: Tensor) -> None:
    _check_layout(autoencoder, "decoder", "up_blocks")
    channels = autoencoder.config.latent_channels
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise UsageError(
            f"latents of shape {tuple(latents.shape)}: expected (batch, {channels}, height, width)"
        )
    if not latents.isfinite().all():
        raise UsageError("latents hold NaN or infinity: the model that made them is at fault")


def _check_image(autoencoder: Any, image: Tensor) -> None:
    _check_layout(autoencoder, "encoder", "down_blocks")
    channels = autoencoder.config.in_channels
    if image.ndim != 4 or image.shape[1] != channels:
        raise UsageError(
            f"image of shape {tuple(image.shape)}: expected (batch, {channels}, height, width)"
        )
    factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    height, width = image.shape[-2:]
    if height % factor or width % factor or not height or not width:
        nearest = " x ".join(str(max(1, round(s / factor)) * factor) for s in (width, height))
        raise UsageError(
            f"image of {width} x {height} pixels: both sides must be multiples of {factor}; "
            f"crop or resize it, for example to {nearest}"
        )
