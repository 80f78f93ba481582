"""Families whose autoencoder is FLUX.2's: 32 channels at F=8, four latents in a token.

The 2x2 latents of a token make 128 channels, each normalised by a mean and a variance that the
autoencoder holds as those of a batch norm. A token thus is 16x16 pixels without a partition.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.autoencoder_kl import PosteriorFamily

__all__ = ["AUTOENCODER_KL_FLUX2", "AutoencoderKLFlux2Family"]

AUTOENCODER_KL_FLUX2 = ("diffusers.AutoencoderKLFlux2",)


class AutoencoderKLFlux2Family(PosteriorFamily):
    """The autoencoder's part of a family with an `AutoencoderKLFlux2`."""

    factors: ClassVar[tuple[int, ...]] = (8,)
    factor_note = "a token of theirs is 16x16 pixels already, without a partition"

    def variance_floor(self, autoencoder: Any) -> float:
        """What the stock pipeline adds to the variance."""
        floor: float = autoencoder.config.batch_norm_eps
        return floor

    def shift_and_scale(self, autoencoder: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Of each channel of a token, `(1, 32, h, w)`: a pattern of 2x2 latents."""
        norm, floor = autoencoder.bn, self.variance_floor(autoencoder)
        found = torch.stack([norm.running_mean, torch.rsqrt(norm.running_var + floor)])
        pattern = nn.functional.pixel_shuffle(found[:, :, None, None], 2).to(latents)
        rows, columns = (side // 2 for side in latents.shape[-2:])
        shift, scale = pattern.repeat(1, 1, rows, columns).split(1)
        return shift, scale

    def pipeline_latents(self, latents: Tensor) -> Tensor:
        """With the channels of a token, `(B, 4C, h/2, w/2)`."""
        return nn.functional.pixel_unshuffle(latents, 2)
