"""Families whose autoencoder gives a distribution of latents, from which they can be drawn.

Latents are `(x - shift) * scale` of the autoencoder's output; what shift and scale are is for the
family to say. An `AutoencoderKL` states one number of each and runs at F=16 without new weights, or
at its own F=8.
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

__all__ = ["AUTOENCODER_KL", "AutoencoderKLFamily", "PosteriorFamily"]

AUTOENCODER_KL = (
    "diffusers.AutoencoderKL",
    "PartitionedAutoencoderKL",
    "ScaleConsistentAutoencoderKL",
)
Statistic = Tensor | float
"""Of all latents, or a tensor that broadcasts against `(B, C, h, w)`."""


class PosteriorFamily(Family):
    """The part of a family that its autoencoder decides, at the factor of the folder's own."""

    has_posterior = True

    @property
    def default_side(self) -> int:
        """Side of images of 128 tokens a side, as many as the paper's: 4096 pixels at F=16."""
        return 128 * self.size_step

    def shift_and_scale(self, autoencoder: Any, latents: Tensor) -> tuple[Statistic, Statistic]:
        """What is subtracted from the latents, and by what they are then multiplied.

        `latents` are `(B, C, h, w)`, normalised or not: their size, type and device count.
        """
        raise NotImplementedError

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        return self._load(model, "vae", dtype)

    def posterior(self, autoencoder: Any, images: Tensor) -> Any:
        """The distribution of latents `(B, C, h, w)`, not normalised, as diffusers has it."""
        return autoencoder.encode(images).latent_dist

    def encode_images(self, autoencoder: Any, images: Tensor) -> Tensor:
        return self.normalised(autoencoder, self.posterior(autoencoder, images).mode())

    def encode_posterior(self, autoencoder: Any, images: Tensor) -> Tensor:
        posterior = self.posterior(autoencoder, images)
        _, scale = self.shift_and_scale(autoencoder, posterior.mean)
        return torch.cat([self.normalised(autoencoder, posterior.mean), posterior.std * scale], 1)

    def draw_latents(
        self,
        autoencoder: Any,
        images: Tensor,
        generator: torch.Generator,
        max_memory: int | str | None = None,
    ) -> Tensor:
        from diffusion4k.vae import lean_encode

        latents = lean_encode(autoencoder, images, max_memory).sample(generator)
        return self.normalised(autoencoder, latents)

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        return autoencoder.decode(self.denormalised(autoencoder, latents)).sample

    def check_decode_memory(
        self, autoencoder: Any, width: int, height: int, max_memory: int | str | None
    ) -> None:
        from diffusion4k.vae import check_decode_memory

        check_decode_memory(autoencoder, height // self.factor, width // self.factor, max_memory)

    def decode_strips(
        self, autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
    ) -> Iterator[Tensor]:
        from diffusion4k.vae import decode_strips

        latents = self.denormalised(autoencoder, latents)
        for _, strip in decode_strips(autoencoder, latents, max_memory):
            yield strip

    def normalised(self, autoencoder: Any, latents: Tensor) -> Tensor:
        """Latents `(B, C, h, w)` of the autoencoder, shifted and scaled."""
        shift, scale = self.shift_and_scale(autoencoder, latents)
        return (latents - shift) * scale

    def denormalised(self, autoencoder: Any, latents: Tensor) -> Tensor:
        """Normalised latents `(B, C, h, w)` as the autoencoder has them."""
        shift, scale = self.shift_and_scale(autoencoder, latents)
        # Some stock pipelines keep latents in float32 whatever the precision of the rest.
        return (latents / scale + shift).to(autoencoder.dtype)


class AutoencoderKLFamily(PosteriorFamily):
    """The autoencoder's part of a family with an `AutoencoderKL`."""

    factors: ClassVar[tuple[int, ...]] = (16, 8)

    def native_factor(self, model: Path) -> int:
        """The stock autoencoder's 8; 16 where the model was given one that knows no other."""
        _, name = needed_entry(model, "vae", f"{self.name} models")
        only_16 = name == "ScaleConsistentAutoencoderKL"
        return 16 if only_16 else super().native_factor(model)

    def shift_and_scale(self, autoencoder: Any, latents: Tensor) -> tuple[Statistic, Statistic]:
        """As its configuration states them; without a shift it is 0."""
        config = autoencoder.config
        return config.shift_factor or 0.0, config.scaling_factor

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The `PartitionedAutoencoderKL` at F=16, the stock one at F=8, whatever the folder has."""
        from diffusion4k.vae import load_autoencoder, load_stock_autoencoder

        folder = component_folder(model, "vae")
        check_weights(folder)
        load = load_autoencoder if self.factor == 16 else load_stock_autoencoder
        return load(folder, dtype).eval()
