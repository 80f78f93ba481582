"""What the passes over strips have to know of a kind of autoencoder."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.vae.layer import PixelStep
from diffusion4k.vae.strips import StripPasses

__all__ = ["Layout", "Strips", "rms_norm", "unknown"]

Strips = Iterator[tuple[int, Tensor]]
"""Strips `(1, C, rows, W)` from the top, each with the number of its first row."""


class Layout(ABC):
    """Sizes of a kind of autoencoder, and the order of its layers.

    `decode` and `encode` give their layers to `passes` one after the other. They are called with
    passes that compute, and with passes that know nothing but sizes.
    """

    classes: ClassVar[tuple[type[nn.Module], ...]]
    """Autoencoders of this kind."""
    has_frames: ClassVar[bool] = False
    """Whether the stock class takes videos: tensors `(B, C, frames, H, W)`."""
    has_posterior: ClassVar[bool] = True
    """Whether `encode` gives mean and logarithm of the variance, or the latents themselves."""

    @abstractmethod
    def factor(self, autoencoder: Any) -> int:
        """Pixels a side of one latent."""

    @abstractmethod
    def latent_channels(self, autoencoder: Any) -> int:
        """Channels of the latents."""

    @abstractmethod
    def image_channels(self, autoencoder: Any) -> int:
        """Channels of the images that it encodes."""

    @abstractmethod
    def decode(self, passes: StripPasses, autoencoder: Any, latents: Any) -> Strips:
        """The decoder's layers, from the map of the latents on; it gives the image.

        Raises:
            UsageError: a layer that is not known.
        """

    @abstractmethod
    def encode(self, passes: StripPasses, autoencoder: Any, image: Any) -> Strips:
        """The encoder's layers, from the image on; it gives what `has_posterior` says.

        Raises:
            UsageError: a layer that is not known.
        """


def unknown(autoencoder: Any, layer: Any) -> UsageError:
    """The error for a layer that a layout does not know."""
    return UsageError(
        f"{type(autoencoder).__name__}: its layer {type(layer).__name__} is not known to the "
        "passes over strips, which cannot run it"
    )


def rms_norm(
    eps: float, weight: Tensor | None, bias: Tensor | None
) -> tuple[PixelStep, Callable[[Tensor], Tensor]]:
    """An RMS norm over the channels of each pixel: into another tensor, and in place."""
    scale, shift = (None if v is None else v.reshape(1, -1, 1, 1) for v in (weight, bias))

    def into(rows: Tensor, out: Tensor) -> None:
        mean = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float32)
        mean = mean.square_().div_(rows.shape[1]).add_(eps)
        torch.mul(rows, mean.rsqrt_().to(rows.dtype), out=out)
        if scale is not None and shift is not None:
            torch.addcmul(shift, out, scale, out=out)
        elif scale is not None:
            out.mul_(scale)

    def in_place(rows: Tensor) -> Tensor:
        into(rows, rows)
        return rows

    return into, in_place
