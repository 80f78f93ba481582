"""How well the student reconstructs crops that stay the same over the run."""

import math

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from diffusion4k.data.crops import ImageCrops
from diffusion4k.training.autoencoder.losses import scale_consistency
from diffusion4k.training.autoencoder.step import ScaleConsistentLoss, reconstruct

__all__ = ["QUALITIES", "AutoencoderValidation"]

QUALITIES = ("psnr", "perceptual", "scale_consistency")
_SHOWN = 4


class AutoencoderValidation:
    """Mean PSNR in dB, perceptual distance (0 where the recipe has none) and scale consistency.

    Of the posterior's mean, image by image.
    """

    def __init__(self, crops: ImageCrops, samples: int, losses: ScaleConsistentLoss) -> None:
        self._losses = losses
        self._crops, self._samples = crops, samples

    @torch.no_grad()
    def __call__(
        self, student: AutoencoderKL, device: torch.device
    ) -> tuple[list[float], Image.Image]:
        """The `QUALITIES`, and a picture: originals above their reconstructions."""
        rows, shown = [], []
        for place in range(self._samples):
            image = self._crops.sample(place)[None].to(device)
            made, features = reconstruct(student, image)
            made = made.float().clamp(-1, 1)
            _, wanted = reconstruct(self._losses.teacher, image)
            error = (made - image).square().mean().item()
            distance = self._losses.perceptual
            rows.append(
                [
                    10 * math.log10(4 / max(error, 1e-10)),
                    distance(made, image).mean().item() if distance else 0.0,
                    scale_consistency(features.float(), wanted.float()).item(),
                ]
            )
            if place < _SHOWN:
                shown.append(torch.cat([image, made], dim=2))
        return np.mean(rows, axis=0).tolist(), _picture(torch.cat(shown, dim=3)[0])


def _picture(image: Tensor) -> Image.Image:
    pixels = ((image + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
