"""How good the network is, on questions that stay the same over the run.

The loss is the objective on fixed pictures of the cache with fixed noise and fixed sigmas (drawn
once from the recipe's own distribution), so that its curve shows the network and not the dice.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from diffusion4k.data.cache import LatentCache
from diffusion4k.data.loader import Batch
from diffusion4k.data.sequence import Stream
from diffusion4k.data.uncached import UncachedLatents
from diffusion4k.training.engine.randomness import generator_at
from diffusion4k.training.method import Method, moved
from diffusion4k.training.pictures import validation_batches
from diffusion4k.training.preview import Preview
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.stage import noise_for
from diffusion4k.training.step import Question

__all__ = ["Validation", "build_validation"]


class Validation:
    """Loss and images of a network, made whenever the recipe says so."""

    def __init__(
        self,
        method: Method,
        batches: Sequence[Batch],
        preview: Preview | None,
        *,
        seed: int,
        at_once: int,
        folder: Path,
    ) -> None:
        """`batches` are the fixed pictures, of which `at_once` are asked about together.

        Images of the `preview` are saved in `folder`.
        """
        self._method, self._preview, self._folder = method, preview, folder
        self._questions: list[Question] = []
        generator = generator_at(seed, Stream.VALIDATION)
        for batch in batches:
            latents = batch["latents"]
            sigma = method.timesteps.sample(len(latents), generator)
            noise = torch.randn(latents.shape, generator=generator)
            question: Question = {
                "conditioning": batch["conditioning"],
                "latents": latents,
                "sigma": sigma,
                "noise": noise_for(method.stage, noise, batch),
            }
            self._questions += _parts(question, at_once)

    @torch.no_grad()
    def loss(self, transformer: nn.Module) -> float | None:
        """Mean of the objective over the fixed questions; None if the recipe asks none."""
        losses = []
        for question in self._questions:
            loss = self._method.losses(transformer, moved(question, self._method.device))
            losses.append(loss.double().cpu())
        return torch.cat(losses).mean().item() if losses else None

    def images(self, transformer: nn.Module, step: int, *, keep: bool = True) -> list[Image.Image]:
        """One image a prompt; `keep`: saved as `validation/step-<step>/<number>.png`."""
        if not self._preview:
            return []
        with self._method.precision():
            return self._preview(transformer, self._folder / f"step-{step:06}" if keep else None)


def build_validation(
    recipe: Recipe, method: Method, model: Path, cache: LatentCache | UncachedLatents
) -> Validation:
    """The recipe's, for a run that computes with `method`."""
    validation = recipe.validation
    shown = bool(validation.prompts and validation.every)
    return Validation(
        method,
        validation_batches(recipe, cache) if validation.samples and validation.every else [],
        Preview(recipe, method.family, model, method.device) if shown else None,
        seed=validation.seed,
        at_once=recipe.batch_size,
        folder=recipe.output / "validation",
    )


def _parts(question: Question, size: int) -> Iterator[Question]:
    """The same in pieces of so many pictures."""
    for start in range(0, len(question["sigma"]), size):
        part = slice(start, start + size)
        yield {
            "latents": question["latents"][part],
            "noise": question["noise"][part],
            "sigma": question["sigma"][part],
            "conditioning": {
                name: tensor[part] for name, tensor in question["conditioning"].items()
            },
        }
