"""How good the network is, on questions that stay the same over the run.

The loss is the objective on a fixed batch of the cache with fixed noise and fixed sigmas (drawn
once from the recipe's own distribution), so that its curve shows the network and not the dice.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from diffusion4k.data.cache import LatentCache
from diffusion4k.data.uncached import UncachedLatents
from diffusion4k.families import Family
from diffusion4k.training.build import build_objective, build_precision, build_timesteps
from diffusion4k.training.pictures import validation_batch
from diffusion4k.training.preview import Preview
from diffusion4k.training.randomness import generator_at
from diffusion4k.training.recipe import Recipe
from diffusion4k.training.step import denoising_loss

__all__ = ["Validation"]

_LOSS = 1  # separates these random numbers from the images'


class Validation:
    """Loss and images of a network, asked for whenever the recipe says so."""

    def __init__(
        self,
        recipe: Recipe,
        family: Family,
        model: Path,
        cache: LatentCache | UncachedLatents,
        device: torch.device,
    ) -> None:
        wanted = recipe.validation
        self._family, self._batch, self._device = family, recipe.batch_size, device
        self._objective = build_objective(recipe)
        self._precision = build_precision(recipe, device)
        self._preview = Preview(recipe, family, model) if wanted.prompts and wanted.every else None
        self._folder = recipe.output / "validation"
        self._questions: dict[str, Tensor] = {}
        if wanted.samples and wanted.every:
            batch = validation_batch(recipe, cache)
            latents, self._conditioning = batch["latents"], batch["conditioning"]
            generator = generator_at(wanted.seed, _LOSS)
            self._questions = {
                "latents": latents,
                "sigma": build_timesteps(recipe, family, model).sample(len(latents), generator),
                "noise": torch.randn(latents.shape, generator=generator),
            }

    @torch.no_grad()
    def loss(self, transformer: nn.Module) -> float | None:
        """Mean of the objective over the fixed questions; None if the recipe asks none."""
        losses = []
        device = self._device
        for start in range(0, len(self._questions.get("sigma", ())), self._batch):
            part = slice(start, start + self._batch)
            with self._precision():
                loss = denoising_loss(
                    self._family,
                    transformer,
                    self._objective,
                    conditioning={k: v[part].to(device) for k, v in self._conditioning.items()},
                    latents=self._questions["latents"][part].to(device),
                    noise=self._questions["noise"][part].to(device),
                    sigma=self._questions["sigma"][part].to(device),
                )
            losses.append(loss.double().cpu())
        return torch.cat(losses).mean().item() if losses else None

    def images(self, transformer: nn.Module, step: int, *, keep: bool = True) -> list[Image.Image]:
        """One image a prompt; `keep`: saved as `validation/step-<step>/<number>.png`."""
        if not self._preview:
            return []
        with self._precision():
            return self._preview(transformer, self._folder / f"step-{step:06}" if keep else None)
