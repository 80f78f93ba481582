"""What a step computes, built once for a run: objective, noise levels, precision.

Whoever measures the network (training, validation, an estimate of time) asks it the same question:
latents, noise, noise level and conditioning, of which the loss is the objective.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion4k.data.loader import Batch
from diffusion4k.families import Family
from diffusion4k.objectives import Objective
from diffusion4k.timesteps import TimestepDistribution
from diffusion4k.training.engine.randomness import draw_noise
from diffusion4k.training.recipe.build import build_objective, build_precision, build_timesteps
from diffusion4k.training.recipe.recipe import Recipe, StageRecipe
from diffusion4k.training.stage import noise_for
from diffusion4k.training.step import denoising_loss

__all__ = ["Method", "build_method"]


@dataclass(frozen=True)
class Method:
    """The parts that a loss is made of, on one device."""

    family: Family
    objective: Objective
    timesteps: TimestepDistribution
    precision: Callable[[], AbstractContextManager[None]]
    stage: StageRecipe | None
    device: torch.device

    def question(self, batch: Batch, noise: Tensor, sigma: Tensor) -> dict[str, Any]:
        """Latents, noise, sigma and conditioning of a batch, on the device.

        Args:
            batch: of the loader.
            noise: as it was drawn, of the shape of the batch's latents.
            sigma: its noise levels, `(B,)`.
        """
        question = {
            "latents": batch["latents"],
            "noise": noise_for(self.stage, noise, batch),
            "sigma": sigma,
            "conditioning": batch["conditioning"],
        }
        return moved(question, self.device)

    def drawn(self, seed: int, batch: Batch) -> dict[str, Any]:
        """The question of a training batch, whose noise follows from the seed and its positions."""
        shape = batch["latents"].shape[1:]
        return self.question(batch, *draw_noise(seed, batch["places"], shape, self.timesteps))

    def losses(
        self,
        network: nn.Module,
        question: dict[str, Any],
        watch: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Loss of each picture of a question, `(B,)`; for `watch` see `denoising_loss`."""
        with self.precision():
            return denoising_loss(self.family, network, self.objective, watch=watch, **question)


def build_method(recipe: Recipe, family: Family, model: Path, device: torch.device) -> Method:
    """The recipe's.

    Raises:
        UsageError: values that a part refuses, or bf16 on a GPU without it.
    """
    return Method(
        family=family,
        objective=build_objective(recipe),
        timesteps=build_timesteps(recipe, family, model),
        precision=build_precision(recipe, device),
        stage=recipe.stage,
        device=device,
    )


def moved(question: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The same on a device, tensors of sections within it too."""
    return {
        name: moved(value, device) if type(value) is dict else value.to(device)
        for name, value in question.items()
    }
