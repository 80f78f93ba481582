"""From a photograph to what the autoencoder takes, and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = ["normalised", "rounded", "to_tensor"]


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
