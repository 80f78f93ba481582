"""What is asked of a family's autoencoder."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

__all__ = ["Autoencoding"]


class Autoencoding(ABC):
    """Images `(B, 3, H, W)` in [-1, 1] to latents `(B, C, H/F, W/F)` and back.

    Latents are always *normalised*: shifted and scaled as the transformer sees them.
    """

    factor: int
    """F: pixels a side of one latent."""
    channels_key: ClassVar[str] = "latent_channels"
    """What the autoencoder's configuration calls the number of channels of its latents."""
    has_posterior: bool = False
    """Whether the autoencoder's latents are a distribution, from which they can be drawn."""

    @abstractmethod
    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The autoencoder alone, at `factor`, whatever F the folder holds."""

    @abstractmethod
    def encode_images(self, autoencoder: Any, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` to normalised latents (the posterior's mean)."""

    def encode_posterior(self, autoencoder: Any, images: Tensor) -> Tensor:
        """Mean and standard deviation of normalised latents, `(B, 2C, h, w)`, one behind the other.

        Only where the family `has_posterior`.
        """
        raise NotImplementedError

    @abstractmethod
    def draw_latents(
        self,
        autoencoder: Any,
        images: Tensor,
        generator: torch.Generator,
        max_memory: int | str | None = None,
    ) -> Tensor:
        """Normalised latents drawn from the posterior where there is one, else the only ones.

        Feature maps take at most `max_memory`.
        """

    @abstractmethod
    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        """Normalised latents to images `(B, 3, H, W)` in about [-1, 1]."""

    @abstractmethod
    def check_decode_memory(
        self, autoencoder: Any, width: int, height: int, max_memory: int | str | None
    ) -> None:
        """Check that images of `width` x `height` pixels can be decoded within `max_memory`.

        Raises:
            UsageError: they cannot; the error says what would do.
        """

    @abstractmethod
    def decode_strips(
        self, autoencoder: Any, latents: Tensor, max_memory: int | str | None = None
    ) -> Iterator[Tensor]:
        """The image of one normalised latent `(1, C, h, w)`: strips `(1, 3, rows, W)` from the top.

        Strips and feature maps take at most `max_memory` (bytes or `"4GiB"`; None: no limit).
        """
