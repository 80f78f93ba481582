"""Families whose autoencoder is an `AutoencoderKL`: at F=16 without new weights, or at its own F=8.

Latents are `(x - shift_factor) * scaling_factor` of the autoencoder's output, both ways; without a
shift factor the shift is 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.base import Family
from diffusion4k.families.component import (
    check_weights,
)
from diffusion4k.models.folder import (
    component_folder,
    needed_entry,
)

__all__ = ["AUTOENCODER_KL", "AutoencoderKLFamily"]

AUTOENCODER_KL = (
    "diffusers.AutoencoderKL",
    "PartitionedAutoencoderKL",
    "ScaleConsistentAutoencoderKL",
)


class AutoencoderKLFamily(Family):
    """The autoencoder's part of a family."""

    has_posterior = True
    factors: ClassVar[tuple[int, ...]] = (16, 8)

    @property
    def default_side(self) -> int:
        """Side of images of 128 tokens a side, as many as the paper's: 4096 pixels at F=16."""
        return 128 * self.size_step

    def native_factor(self, model: Path) -> int:
        """The stock autoencoder's 8; 16 where the model was given one that knows no other."""
        _, name = needed_entry(model, "vae", f"{self.name} models")
        only_16 = name == "ScaleConsistentAutoencoderKL"
        return 16 if only_16 else super().native_factor(model)

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The `PartitionedAutoencoderKL` at F=16, the stock one at F=8, whatever the folder has."""
        from diffusion4k.vae import load_autoencoder, load_stock_autoencoder

        folder = component_folder(model, "vae")
        check_weights(folder)
        load = load_autoencoder if self.factor == 16 else load_stock_autoencoder
        return load(folder, dtype).eval()

    def encode_images(self, autoencoder: Any, images: Tensor) -> Tensor:
        latents = autoencoder.encode(images).latent_dist.mode()
        return (latents - _shift(autoencoder)) * autoencoder.config.scaling_factor

    def encode_posterior(self, autoencoder: Any, images: Tensor) -> Tensor:
        posterior = autoencoder.encode(images).latent_dist
        scale = autoencoder.config.scaling_factor
        return torch.cat([(posterior.mean - _shift(autoencoder)) * scale, posterior.std * scale], 1)

    def draw_latents(
        self,
        autoencoder: Any,
        images: Tensor,
        generator: torch.Generator,
        max_memory: int | str | None = None,
    ) -> Tensor:
        from diffusion4k.vae import lean_encode

        latents = lean_encode(autoencoder, images, max_memory).sample(generator)
        return (latents - _shift(autoencoder)) * autoencoder.config.scaling_factor

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        return autoencoder.decode(_denormalised(autoencoder, latents)).sample

    def check_decode_memory(
        self, autoencoder: Any, width: int, height: int, max_memory: int | str | None
    ) -> None:
        from diffusion4k.vae import check_decode_memory

        check_decode_memory(autoencoder, height // self.factor, width // self.factor, max_memory)

    def decode_strips(
        self, autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
    ) -> Iterator[Tensor]:
        from diffusion4k.vae import decode_strips

        latents = _denormalised(autoencoder, latents)
        for _, strip in decode_strips(autoencoder, latents, max_memory):
            yield strip


def _shift(autoencoder: Any) -> float:
    return autoencoder.config.shift_factor or 0.0


def _denormalised(autoencoder: Any, latents: Tensor) -> Tensor:
    # Some stock pipelines keep latents in float32 whatever the precision of the rest.
    latents = latents.to(autoencoder.dtype)
    return latents / autoencoder.config.scaling_factor + _shift(autoencoder)
