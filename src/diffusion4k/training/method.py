"""What a step computes, built once for a run: objective, noise levels, precision.

Whoever measures the network (training, validation, an estimate of time) asks it the same question:
latents, noise, noise level and conditioning, of which the loss is the objective.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

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
from diffusion4k.training.step import Question, denoising_loss

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

    def question(self, batch: Batch, noise: Tensor, sigma: Tensor) -> Question:
        """Latents, noise, sigma and conditioning of a batch, on the device.

        Args:
            batch: of the loader.
            noise: as it was drawn, of the shape of the batch's latents.
            sigma: its noise levels, `(B,)`.
        """
        question: Question = {
            "latents": batch["latents"],
            "noise": noise_for(self.stage, noise, batch),
            "sigma": sigma,
            "conditioning": batch["conditioning"],
        }
        return moved(question, self.device)

    def drawn(self, seed: int, batch: Batch) -> Question:
        """The question of a training batch, whose noise follows from the seed and its positions."""
        shape = batch["latents"].shape[1:]
        return self.question(batch, *draw_noise(seed, batch["places"], shape, self.timesteps))

    def losses(
        self,
        network: nn.Module,
        question: Question,
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


def moved(question: Question, device: torch.device) -> Question:
    """The same on a device."""
    return {
        "latents": question["latents"].to(device),
        "noise": question["noise"].to(device),
        "sigma": question["sigma"].to(device),
        "conditioning": {
            name: tensor.to(device) for name, tensor in question["conditioning"].items()
        },
    }
