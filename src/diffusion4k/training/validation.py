"""How good the network is, on questions that stay the same over the run.

The loss is the objective on fixed pictures of the cache with fixed noise and fixed sigmas (drawn
once from the recipe's own distribution), so that its curve shows the network and not the dice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from diffusion4k.data.cache import LatentCache
from diffusion4k.data.uncached import UncachedLatents
from diffusion4k.families import Family
from diffusion4k.training.engine.randomness import generator_at
from diffusion4k.training.pictures import validation_batches
from diffusion4k.training.preview import Preview
from diffusion4k.training.recipe.build import build_objective, build_precision, build_timesteps
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.stage import noise_for
from diffusion4k.training.step import denoising_loss

__all__ = ["Validation"]

_LOSS = 1  # separates these random numbers from the images'


class Validation:
    """Loss and images of a network, made whenever the recipe says so."""

    def __init__(
        self,
        recipe: Recipe,
        family: Family,
        model: Path,
        cache: LatentCache | UncachedLatents,
        device: torch.device,
    ) -> None:
        wanted = recipe.validation
        self._family, self._device = family, device
        self._objective = build_objective(recipe)
        self._precision = build_precision(recipe, device)
        self._preview = (
            Preview(recipe, family, model, device) if wanted.prompts and wanted.every else None
        )
        self._folder = recipe.output / "validation"
        self._questions: list[dict[str, Any]] = []
        if wanted.samples and wanted.every:
            generator = generator_at(wanted.seed, _LOSS)
            timesteps = build_timesteps(recipe, family, model)
            for batch in validation_batches(recipe, cache):
                latents = batch["latents"]
                sigma = timesteps.sample(len(latents), generator)
                noise = torch.randn(latents.shape, generator=generator)
                question = {
                    "conditioning": batch["conditioning"],
                    "latents": latents,
                    "sigma": sigma,
                    "noise": noise_for(recipe.stage, noise, batch),
                }
                self._questions += _parts(question, recipe.batch_size)

    @torch.no_grad()
    def loss(self, transformer: nn.Module) -> float | None:
        """Mean of the objective over the fixed questions; None if the recipe asks none."""
        losses = []
        for question in self._questions:
            with self._precision():
                loss = denoising_loss(
                    self._family,
                    transformer,
                    self._objective,
                    **_moved(question, self._device),
                )
            losses.append(loss.double().cpu())
        return torch.cat(losses).mean().item() if losses else None

    def images(self, transformer: nn.Module, step: int, *, keep: bool = True) -> list[Image.Image]:
        """One image a prompt; `keep`: saved as `validation/step-<step>/<number>.png`."""
        if not self._preview:
            return []
        with self._precision():
            return self._preview(transformer, self._folder / f"step-{step:06}" if keep else None)


def _parts(question: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """The same in pieces of so many pictures."""
    for start in range(0, len(question["sigma"]), size):
        part = slice(start, start + size)
        yield {
            name: {k: v[part] for k, v in value.items()} if type(value) is dict else value[part]
            for name, value in question.items()
        }


def _moved(question: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: _moved(value, device) if type(value) is dict else value.to(device)
        for name, value in question.items()
    }
