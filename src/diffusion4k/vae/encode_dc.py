"""Encoding by an `AutoencoderDC` (Sana's) in strips, where nothing but convolutions looks around.

Its first stages, at full resolution, take nearly all of the memory, and nearly all of what they
compute depends on the pixels around alone: each strip is computed with a margin as wide as these
stages see, which is cut off. Later ones have attention over the whole picture and run as a whole.
The latents are those of a whole pass, but for rounding.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["encoding_in_strips"]

_PIXELS = 1 << 22


@contextmanager
def encoding_in_strips(autoencoder: Any, pixels: int = _PIXELS) -> Iterator[None]:
    """Encode pictures of more than `pixels` pixels strip by strip within the block."""
    encoder = autoencoder.encoder
    whole = encoder.forward

    def forward(images: Tensor) -> Tensor:
        if images.shape[-2] * images.shape[-1] <= pixels:
            return whole(images)
        return _encode(encoder, images, pixels)

    encoder.forward = forward
    try:
        yield
    finally:
        del encoder.forward


def _encode(encoder: nn.Module, images: Tensor, pixels: int) -> Tensor:
    first, later = _divided(encoder)
    margin, factor = _seen(first)
    height, width = images.shape[-2:]
    rows = max(pixels // width // factor, 1) * factor
    features = []
    for top in range(0, height, rows):
        above, bottom = min(margin, top), min(top + rows, height)
        strip = first(images[..., top - above : bottom + margin, :])
        features.append(strip[..., above // factor : (bottom - top + above) // factor, :].clone())
        del strip
    return later(torch.cat(features, dim=-2))


def _divided(encoder: Any) -> tuple[nn.Sequential, nn.Module]:
    """The encoder's stages of convolutions alone, and an encoder of the others."""
    from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, ResBlock

    local = 0
    for stage in encoder.down_blocks:
        if not all(isinstance(block, ResBlock | DCDownBlock2d) for block in stage):
            break
        local += 1
    later = copy.copy(encoder)
    others = {"conv_in": nn.Identity(), "down_blocks": encoder.down_blocks[local:]}
    later._modules = encoder._modules | others
    later.__dict__.pop("forward", None)
    return nn.Sequential(encoder.conv_in, *encoder.down_blocks[:local]), later


def _seen(stages: nn.Module) -> tuple[int, int]:
    """Pixels that stages see beyond their own, a multiple of the factor by which they divide."""
    from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d

    seen, factor = 0, 1
    for block in _leaves(stages):
        seen += factor * (isinstance(block, nn.Conv2d) and block.kernel_size != (1, 1))
        factor *= 2 if isinstance(block, DCDownBlock2d) else 1
    return -(-seen // factor) * factor, factor


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The module's parts in order, each before what contains it."""
    for part in module.children():
        yield from _leaves(part)
    yield module
