"""Checkpoints of scale-consistent training, complete or absent (see `training.checkpoint`).

student/                            weights in diffusers layout: loads as an autoencoder
discriminator.safetensors           with the vectors of its power iterations
optimizer.safetensors, discriminator-optimizer.safetensors
ema.safetensors                     averaged weights, if the recipe asks for them
state.json                          step, recipe, versions
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from diffusion4k.training.checkpoint.checkpoint import (
    Retention,
    load_average,
    load_optimizer,
    load_weights,
    new_checkpoint,
    save_optimizer,
)
from diffusion4k.training.engine.ema import WeightAverage
from diffusion4k.vae import ScaleConsistentAutoencoderKL, load_autoencoder
from diffusion4k.vae.discriminator import PatchDiscriminator, SubBandDiscriminator

__all__ = ["Trained"]

_DISCRIMINATOR = "discriminator.safetensors"
_DISCRIMINATOR_OPTIMIZER = "discriminator-optimizer.safetensors"


@dataclass
class Trained:
    """All that changes over a run."""

    student: ScaleConsistentAutoencoderKL
    discriminator: PatchDiscriminator | SubBandDiscriminator
    student_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    average: WeightAverage | None

    def save(
        self, folder: Path, step: int, *, state: Mapping[str, object], keep: Retention
    ) -> None:
        """Write `folder/step-<step>`, then delete old ones."""
        with new_checkpoint(folder, step, state=state, keep=keep) as path:
            self.student.save_pretrained(path / "student")
            save_file(self.discriminator.state_dict(), path / _DISCRIMINATOR)
            save_optimizer(path, self.student_optimizer, self.student)
            save_optimizer(
                path, self.discriminator_optimizer, self.discriminator, _DISCRIMINATOR_OPTIMIZER
            )
            if self.average:
                save_file(self.average.weights, path / "ema.safetensors")

    def load(self, checkpoint: Path) -> None:
        """Bring everything to what it was in a checkpoint.

        Raises:
            Diffusion4kError: it is damaged.
        """
        # Copied, as weights mapped from a file lie at addresses for which a CPU may sum in
        # another order.
        self.student.load_state_dict(load_autoencoder(checkpoint / "student").state_dict())
        load_weights(checkpoint / _DISCRIMINATOR, self.discriminator)
        load_optimizer(checkpoint, self.student_optimizer, self.student)
        load_optimizer(
            checkpoint, self.discriminator_optimizer, self.discriminator, _DISCRIMINATOR_OPTIMIZER
        )
        if self.average:
            load_average(checkpoint, self.average)
