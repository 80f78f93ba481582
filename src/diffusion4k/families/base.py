"""What the rest of the project may ask of a base-model family."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Defaults", "Family"]


@dataclass(frozen=True)
class Defaults:
    """Sampling defaults of a family, or of one model where its folder states its own."""

    steps: int
    guidance: float
    width: int
    height: int


class Family(Protocol):
    """One base-model family; `model` is always the local folder of a diffusers pipeline.

    Tensors: images `(B, 3, H, W)` in [-1, 1]; latents `(B, C, H/16, W/16)`, always *normalised*
    (shifted and scaled as the transformer sees them); sigma `(B,)` in [0, 1];
    the noisy latents are `z = (1 - sigma) * latents + sigma * noise` and the
    velocity target is `noise - latents`.
    """

    name: str
    pipeline_class: str

    def defaults(self, model: Path) -> Defaults:
        """Sampling defaults: the family's, or the model's own."""

    def load_transformer(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The transformer alone."""

    def load_autoencoder(self, model: Path, *, dtype: torch.dtype) -> nn.Module:
        """The F=16 autoencoder alone (`PartitionedAutoencoderKL`), whatever F the folder holds."""

    def load_text_encoders(self, model: Path, *, dtype: torch.dtype) -> Any:
        """What `encode_text` needs, without transformer or autoencoder."""

    def encode_text(self, text_encoders: Any, captions: list[str]) -> dict[str, Tensor]:
        """Conditioning of each caption: tensors whose first axis is the caption's."""

    def encode_images(self, autoencoder: Any, images: Tensor) -> Tensor:
        """Images `(B, 3, H, W)` to normalised latents (the posterior's mean)."""

    def decode_latents(self, autoencoder: Any, latents: Tensor) -> Tensor:
        """Normalised latents to images `(B, 3, H, W)` in about [-1, 1]."""

    def velocity(
        self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: dict[str, Tensor]
    ) -> Tensor:
        """The transformer's prediction at `noisy` and `sigma`, as a velocity like `noisy`."""

    def load_pipeline(self, model: Path, *, dtype: torch.dtype) -> Any:
        """The stock diffusers pipeline, its autoencoder at F=16."""
