"""From a photograph to what the autoencoder takes.

The shorter side becomes the resolution; the longer one keeps the aspect, rounded down to whole
patches of 32 pixels (two by two latents of F=16, or one of F=32), the remainder cut off on both
sides.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffusion4k.errors import UsageError

__all__ = [
    "PATCH",
    "check_multiple",
    "fitted_size",
    "kept_size",
    "normalised",
    "rounded",
    "to_tensor",
]

PATCH = 32
"""Pixels a side of one token: two latents of F=16, or one of F=32."""


def check_multiple(what: str, pixels: int) -> None:
    """Raise `UsageError` unless `pixels` is a positive multiple of 32."""
    if pixels < PATCH:
        raise UsageError(f"{what} {pixels}: too small, the smallest is {PATCH}")
    if over := pixels % PATCH:
        below = pixels - over
        raise UsageError(
            f"{what} {pixels}: allowed are multiples of {PATCH}, nearest: {below} or "
            f"{below + PATCH}"
        )


def fitted_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Width and height in pixels at which a photograph is encoded; multiples of 32."""
    longer = max(width, height) * resolution // min(width, height) // PATCH * PATCH
    return (longer, resolution) if width >= height else (resolution, longer)


def kept_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """As `fitted_size`, but not enlarged: a smaller photograph keeps its own size."""
    return fitted_size(width, height, min(resolution, min(width, height) // PATCH * PATCH))


def to_tensor(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """An RGB photograph as `(1, 3, H, W)` float32 in [-1, 1], `size` wide and high (Lanczos).

    Its shape is kept: what stands over is cut off on both sides.
    """
    width, height = size
    scale = max(width / image.width, height / image.height)
    left = max((image.width - width / scale) / 2, 0)
    top = max((image.height - height / scale) / 2, 0)
    box = (left, top, image.width - left, image.height - top)
    fitted = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return normalised(np.array(fitted))


def rounded(image: Tensor) -> NDArray[np.uint8]:
    """`(3, H, W)` in [-1, 1] as RGB uint8 `(H, W, 3)`, scaled and rounded as stock pipelines do."""
    scaled = image.float().mul(0.5).add_(0.5).clamp_(0, 1).mul_(255).round_()
    pixels: NDArray[np.uint8] = scaled.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """RGB uint8 `(H, W, 3)` as `(1, 3, H, W)` float32 in [-1, 1]."""
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    # In place: of a photograph at 4K each further copy would take 200 MB.
    return planes.float().div_(127.5).sub_(1)
