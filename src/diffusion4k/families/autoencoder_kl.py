"""Families whose autoencoder is an `AutoencoderKL`: at F=16 without new weights, or at its own F=8.

Latents are `(x - shift_factor) * scaling_factor` of the autoencoder's output, both ways; without a
shift factor the shift is 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.families.component import (
    check_weights,
)
from diffusion4k.families.stock import StockFamily
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


class AutoencoderKLFamily(StockFamily):
    """The autoencoder's part of `families.base.Family`."""

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
        """Images `(B, 3, H, W)` in [-1, 1] to normalised latents `(B, C, H/F, W/F)`."""
        latents = autoencoder.encode(images).latent_dist.mode()
        return (latents - _shift(autoencoder)) * autoencoder.config.scaling_factor

    def encode_posterior(self, autoencoder: Any, images: Tensor) -> Tensor:
        """Mean and standard deviation of normalised latents `(B, 2C, H/F, W/F)`."""
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
        """Normalised latents `(B, C, H/F, W/F)` of images, drawn from the posterior."""
        from diffusion4k.vae import lean_encode

        latents = lean_encode(autoencoder, images, max_memory).sample(generator)
        return (latents - _shift(autoencoder)) * autoencoder.config.scaling_factor

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        """Normalised latents `(B, C, h, w)` to images `(B, 3, F h, F w)` in about [-1, 1]."""
        return autoencoder.decode(_denormalised(autoencoder, latents)).sample

    def check_decode_memory(
        self, autoencoder: Any, width: int, height: int, max_memory: int | str | None
    ) -> None:
        """See whether images of `width` x `height` pixels can be decoded within `max_memory`."""
        from diffusion4k.vae import check_decode_memory

        check_decode_memory(autoencoder, height // self.factor, width // self.factor, max_memory)

    def decode_strips(
        self, autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
    ) -> Iterator[Tensor]:
        """The image of one normalised latent `(1, C, h, w)`, in strips `(1, 3, rows, F w)`."""
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
