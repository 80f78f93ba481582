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
from collections.abc import Callable, Iterable
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution, IdentityDistribution
from torch import Tensor

from diffusion4k.errors import UsageError
from diffusion4k.support.text_files import shortened
from diffusion4k.vae.layouts import Layout, Strips, layout_of
from diffusion4k.vae.strips import ImageRows, LeastMemory, MapSize, StripPasses

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
        autoencoder: one that a layout knows: diffusers' `AutoencoderKL`, `AutoencoderKLFlux2`,
            `AutoencoderKLQwenImage`, `AutoencoderKLQwenImage21`, `AutoencoderKLWan` (one frame)
            and `AutoencoderDC`, `PartitionedAutoencoderKL` and what derives from them.
        latents: `(B, C, h, w)`, not normalised; of an autoencoder of videos also
            `(B, C, 1, h, w)`.
        max_memory: bytes or a size like `"4GiB"` for feature maps and strips; `None`: no limit.

    Returns:
        Images `(B, 3, F h, F w)` in about [-1, 1], with the frame that the latents have.

    Raises:
        UsageError: latents of a wrong shape, or with NaN or infinity; a budget that cannot hold one
            strip (the error says what can); an autoencoder of an unknown class.
        Diffusion4kError: no room on the disk for what the budget keeps out of memory.
    """
    layout = layout_of(autoencoder)
    pictures = _picture(layout, latents, "latents")
    height = layout.factor(autoencoder) * latents.shape[-2]
    made = (decode_strips(autoencoder, single, max_memory) for single in pictures.split(1))
    return _assembled(made, latents, height)


@torch.inference_mode()
def decode_strips(autoencoder: Any, latents: Tensor, max_memory: int | str | None = None) -> Strips:
    """The decoded image of one latent `(1, C, h, w)`, strip by strip from the top.

    Yields:
        The number of the strip's first row, and the strip `(1, 3, rows, F w)`.

    Raises:
        As `lean_decode`.
    """
    layout = layout_of(autoencoder)
    latents = _picture(layout, latents, "latents")
    _check_latents(layout.latent_channels(autoencoder), latents)
    height, width = latents.shape[-2:]
    check_decode_memory(autoencoder, height, width, max_memory)
    passes = StripPasses(parse_memory(max_memory), autoencoder.decoder)
    yield from layout.decode(passes, autoencoder, passes.load(latents))


def check_decode_memory(
    autoencoder: Any, height: int, width: int, max_memory: int | str | None
) -> None:
    """See in advance whether latents of `height` x `width` can be decoded within `max_memory`.

    Raises:
        UsageError: not even strip by strip; the error says what would do. Or the autoencoder has
            layers that are not known.
    """
    layout = layout_of(autoencoder)
    sizes = LeastMemory(autoencoder.decoder)
    latents = MapSize(layout.latent_channels(autoencoder), height, width)
    list(layout.decode(sizes, autoencoder, latents))
    _check_budget(parse_memory(max_memory), sizes.least)


def lean_encode(
    autoencoder: Any, image: Tensor, max_memory: int | str | None = None
) -> DiagonalGaussianDistribution | IdentityDistribution:
    """`autoencoder.encode(image).latent_dist` in bounded memory.

    Args:
        autoencoder: as for `lean_decode`.
        image: `(B, 3, H, W)` in [-1, 1], for an autoencoder of videos also `(B, 3, 1, H, W)`; sides
            are multiples of the autoencoder's factor.
        max_memory: as for `lean_decode`; the image itself is not counted.

    Returns:
        The posterior of latents `(B, C, H/F, W/F)`; of an `AutoencoderDC`, which has none, one that
            always gives its only latents.

    Raises:
        As `lean_decode`.
    """
    layout = layout_of(autoencoder)
    pictures = _picture(layout, image, "image")
    _check_image(layout, autoencoder, pictures)
    budget = parse_memory(max_memory)
    with torch.inference_mode():
        sizes = LeastMemory(autoencoder.encoder)
        list(layout.encode(sizes, autoencoder, MapSize(*pictures.shape[1:])))
        _check_budget(budget, sizes.least)
    height = image.shape[-2] // layout.factor(autoencoder)
    made = (_encode(layout, autoencoder, single, budget) for single in pictures.split(1))
    found = _assembled(made, image, height)
    return (DiagonalGaussianDistribution if layout.has_posterior else IdentityDistribution)(found)


@torch.inference_mode()
def _encode(layout: Layout, autoencoder: Any, single: Tensor, budget: int | None) -> Strips:
    passes = StripPasses(budget, autoencoder.encoder)
    yield from layout.encode(passes, autoencoder, ImageRows(single))


def _assembled(pictures: Iterable[Strips], given: Tensor, height: int) -> Tensor:
    """One batch of the strips of each picture, with a frame if what was given has one."""
    batch: Tensor | None = None
    for i, strips in enumerate(pictures):
        for top, strip in strips:
            if batch is None:
                batch = strip.new_empty((len(given), strip.shape[1], height, strip.shape[-1]))
            batch[i, :, top : top + strip.shape[-2]] = strip[0]
    assert batch is not None
    return batch.unsqueeze(2) if given.ndim == 5 else batch


def _picture(layout: Layout, tensor: Tensor, name: str) -> Tensor:
    """`(B, C, H, W)` of a tensor that may have one frame."""
    if not layout.has_frames or tensor.ndim != 5:
        return tensor
    if tensor.shape[2] != 1:
        raise UsageError(
            f"{name} of {tensor.shape[2]} frames: strips are for pictures, which have one"
        )
    return tensor.squeeze(2)


def _check_budget(budget: int | None, least: int) -> None:
    if budget is not None and budget < least:
        raise UsageError(
            f"memory of {_size(budget, math.floor)} cannot hold one strip of the image and what it "
            f"needs beside it: allow at least {_size(least, math.ceil)}"
        )


def _size(count: int, rounded: Callable[[float], int]) -> str:
    unit, name = (2**20, "MiB") if count >= 2**23 else (2**10, "KiB")
    return f"{rounded(count / unit)} {name}"


def _check_latents(channels: int, latents: Tensor) -> None:
    if latents.ndim != 4 or latents.shape[1] != channels or not latents.numel():
        raise UsageError(
            f"latents of shape {tuple(latents.shape)}: expected (batch, {channels}, height, width)"
        )
    if not latents.isfinite().all():
        raise UsageError("latents hold NaN or infinity: the model that made them is broken")


def _check_image(layout: Layout, autoencoder: Any, image: Tensor) -> None:
    channels = layout.image_channels(autoencoder)
    if image.ndim != 4 or image.shape[1] != channels or not len(image):
        raise UsageError(
            f"image of shape {tuple(image.shape)}: expected (batch, {channels}, height, width)"
        )
    factor = layout.factor(autoencoder)
    height, width = image.shape[-2:]
    if height % factor or width % factor or not height or not width:
        nearest = " x ".join(str(max(1, round(s / factor)) * factor) for s in (width, height))
        raise UsageError(
            f"image of {width} x {height} pixels: both sides must be multiples of {factor}; "
            f"crop or resize it, for example to {nearest}"
        )
