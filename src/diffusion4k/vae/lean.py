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
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.support.text_files import shortened
from diffusion4k.vae.strips import ImageRows, LeastMemory, MapSize, StripPasses
from diffusion4k.vae.subpixel import SubPixelConv2d, fold_upsample

__all__ = ["check_decode_memory", "decode_strips", "lean_decode", "lean_encode", "parse_memory"]

_MOST = 1 << 60  # bytes
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_memory(value: int | str | None, name: str = "memory") -> int | None:
    """Bytes of a size such as `4GiB`, `512 MB` or a plain number; both kinds of unit are binary.

    Raises:
        UsageError: not such a size, or none at all; it calls the value `name`.
    """
    if value is None or isinstance(value, int):
        size = value
    else:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", value, re.IGNORECASE)
        if not found:
            raise UsageError(f"{name} {shortened(value)}: give a size like 4GiB or 512MiB")
        # A number of hundreds of digits is infinite as a float.
        size = int(min(float(found[1]) * _UNITS[found[2].upper()], _MOST))
    if size is not None and not 0 < size < _MOST:
        raise UsageError(f"{name} {shortened(value)}: must be positive and below 2^60")
    return size


def lean_decode(autoencoder: Any, latents: Tensor, max_memory: int | str | None = None) -> Tensor:
    """`autoencoder.decode(latents).sample` in bounded memory.

    Args:
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
    height, width = latents.shape[-2:]
    check_decode_memory(autoencoder, height, width, max_memory)
    passes = StripPasses(parse_memory(max_memory), autoencoder.decoder)
    yield from decode_passes(passes, autoencoder, passes.load(latents))


def check_decode_memory(
    autoencoder: Any, height: int, width: int, max_memory: int | str | None
) -> None:
    """See in advance whether latents of `height` x `width` can be decoded within `max_memory`.

    Raises:
        UsageError: not even strip by strip; the error says what would do.
    """
    _check_layout(autoencoder, "decoder", "up_blocks")
    sizes = LeastMemory(autoencoder.decoder)
    latents = MapSize(autoencoder.config.latent_channels, height, width)
    list(decode_passes(sizes, autoencoder, latents))
    _check_budget(parse_memory(max_memory), sizes.least)


@torch.inference_mode()
def lean_encode(
    autoencoder: Any, image: Tensor, max_memory: int | str | None = None
) -> DiagonalGaussianDistribution:
    """`autoencoder.encode(image).latent_dist` in bounded memory.

    Args:
        autoencoder: as for `lean_decode`.
        image: `(B, 3, H, W)` in [-1, 1]; sides are multiples of the autoencoder's factor.
        max_memory: as for `lean_decode`; the image itself is not counted.

    Returns:
        The posterior of latents `(B, C, H/F, W/F)`.

    Raises:
        As `lean_decode`.
    """
    _check_image(autoencoder, image)
    budget = parse_memory(max_memory)
    sizes = LeastMemory(autoencoder.encoder)
    list(encode_passes(sizes, autoencoder, MapSize(*image.shape[1:])))
    _check_budget(budget, sizes.least)
    moments = []
    for single in image.split(1):
        passes = StripPasses(budget, autoencoder.encoder)
        strips = encode_passes(passes, autoencoder, ImageRows(single))
        moments.append(torch.cat([strip for _, strip in strips], dim=2))
    moment = torch.cat(moments)
    if getattr(autoencoder, "quant_conv", None) is not None:
        moment = autoencoder.quant_conv(moment)
    return DiagonalGaussianDistribution(moment)


def decode_passes(passes: StripPasses, autoencoder: Any, x: Any) -> Iterator[tuple[int, Tensor]]:
    """The order of a stock `Decoder`, from the map of the latents on."""
    decoder = autoencoder.decoder
    if getattr(autoencoder, "post_quant_conv", None) is not None:
        x = passes.convolve(x, autoencoder.post_quant_conv)
    x = passes.convolve(x, decoder.conv_in)
    x = passes.middle(x, decoder.mid_block)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = passes.residual(x, resnet)
        for upsampler in getattr(block, "upsamplers", None) or []:
            conv = upsampler.conv
            folded = conv if isinstance(conv, SubPixelConv2d) else fold_upsample(conv)
            x = passes.convolve(x, folded)
    yield from passes.strips(x, decoder.conv_out, decoder.conv_norm_out, decoder.conv_act)
    x.close()


def encode_passes(passes: StripPasses, autoencoder: Any, x: Any) -> Iterator[tuple[int, Tensor]]:
    """The order of a stock `Encoder`, from the image on."""
    encoder = autoencoder.encoder
    x = passes.convolve(x, encoder.conv_in)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            x = passes.residual(x, resnet)
        for downsampler in getattr(block, "downsamplers", None) or []:
            # Stock downsampling pads one row below and one column to the right.
            pads = (0, 1) if downsampler.padding == 0 else None
            x = passes.convolve(x, downsampler.conv, pads=pads)
    x = passes.middle(x, encoder.mid_block)
    yield from passes.strips(x, encoder.conv_out, encoder.conv_norm_out, encoder.conv_act)
    x.close()


def _check_budget(budget: int | None, least: int) -> None:
    if budget is not None and budget < least:
        raise UsageError(
            f"memory of {_size(budget, math.floor)} cannot hold one strip of the image and what it "
            f"needs beside it: allow at least {_size(least, math.ceil)}"
        )


def _size(count: int, rounded: Callable[[float], int]) -> str:
    unit, name = (2**20, "MiB") if count >= 2**23 else (2**10, "KiB")
    return f"{rounded(count / unit)} {name}"


def _check_layout(autoencoder: Any, part: str, blocks: str) -> None:
    network = getattr(autoencoder, part, None)
    norm = getattr(network, "conv_norm_out", None)
    if not hasattr(network, blocks) or not isinstance(norm, nn.GroupNorm):
        raise UsageError(
            f"{type(autoencoder).__name__}: its {part} is not of the AutoencoderKL layout "
            f"(conv_in, mid_block, {blocks}, group norm, conv_out), as lean passes require"
        )


def _check_latents(autoencoder: Any, latents: Tensor) -> None:
    _check_layout(autoencoder, "decoder", "up_blocks")
    channels = autoencoder.config.latent_channels
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise UsageError(
            f"latents of shape {tuple(latents.shape)}: expected (batch, {channels}, height, width)"
        )
    if not latents.isfinite().all():
        raise UsageError("latents hold NaN or infinity: the model that made them is broken")


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
