"""Common ground: how far the velocity is off, at each noise level and in each wavelet sub-band.

The losses of two objectives are two different quantities. What every arm is asked is the plain
error of its velocity on the same pictures with the same noise at the same levels,

    e[p, l, b] = mean (DWT(v - (noise - latents)))^2   of picture p, level l, sub-band b

with one level of the orthonormal Haar transform: the mean over its four sub-bands LL, LH, HL, HH is
the squared error itself. Noise levels are the middles of equal parts of (0, 1).
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffusion4k.ablation.recipe import AblationRecipe
from diffusion4k.data.cache import LatentCache
from diffusion4k.data.loader import Batch, LatentBatches
from diffusion4k.data.sequence import Stream
from diffusion4k.families import Family, family_of, resolve
from diffusion4k.families.quantization import load_transformer
from diffusion4k.lora import load_adapter, read_adapter
from diffusion4k.support.devices import widest_float
from diffusion4k.support.progress import track
from diffusion4k.training.engine.randomness import generator_at
from diffusion4k.training.recipe.build import build_precision
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.wavelet import SUB_BANDS, dwt2

__all__ = ["levels_of", "network_of", "velocity_errors"]


def levels_of(study: AblationRecipe) -> NDArray[np.float64]:
    """The noise levels, the least first."""
    count = study.velocity.levels
    return (np.arange(count) + 0.5) / count


@torch.no_grad()
def velocity_errors(
    study: AblationRecipe,
    recipe: Recipe,
    cache: LatentCache,
    network: nn.Module,
    device: torch.device,
    *,
    what: str = "velocity errors",
) -> NDArray[np.float64]:
    """`(pictures, levels, 4)`, of pictures of `cache` in an order that the study's seed decides."""
    family = family_of(resolve(recipe.model), **recipe.model_options)
    precision = build_precision(recipe, device)
    wanted, levels = study.velocity, levels_of(study)
    batches = LatentBatches(cache, batch_size=1, crop=recipe.crop_size, seed=wanted.seed)
    pictures = list(_pictures(batches, min(wanted.pictures, len(cache))))
    errors = np.empty((len(pictures), len(levels), len(SUB_BANDS)))
    velocity_cache = [(p, at) for p in range(len(pictures)) for at in range(len(levels))]
    for p, at in track(velocity_cache, len(velocity_cache), what):
        latents = pictures[p]["latents"]
        generator = generator_at(wanted.seed, Stream.VELOCITY_ERROR, p, at)
        noise = torch.randn(latents.shape, generator=generator).to(device)
        conditioning = {k: v.to(device) for k, v in pictures[p]["conditioning"].items()}
        sigma = torch.full((1,), float(levels[at]), device=device)
        with precision():
            errors[p, at] = _error(
                family, network, latents.to(device), noise, sigma, conditioning
            ).cpu()
    return errors


def _error(
    family: Family,
    network: nn.Module,
    latents: Tensor,
    noise: Tensor,
    sigma: Tensor,
    conditioning: dict[str, Tensor],
) -> Tensor:
    """Mean squares of one picture's error, `(4,)`."""
    noisy = (1 - sigma) * latents + sigma * noise
    velocity = family.velocity(network, noisy, sigma, conditioning)
    bands = dwt2((velocity - (noise - latents)).float())
    exact = bands[0].unflatten(0, (len(SUB_BANDS), -1)).to(widest_float(velocity.device))
    return exact.square().mean((1, 2, 3))


def network_of(recipe: Recipe, device: torch.device, *, trained: bool = True) -> nn.Module:
    """The transformer that a run has exported, or the one that it starts from.

    With `lora` in the recipe the former is the base model's with the adapters in their places.
    """
    base = resolve(recipe.model)
    family = family_of(base, **recipe.model_options)
    if trained and recipe.lora is None:
        network = family.load_transformer(recipe.output / "model", dtype=torch.float32)
    else:
        weights = recipe.lora.weights if recipe.lora else None
        network = load_transformer(family, base, dtype=torch.float32, weights=weights)
        if trained:
            load_adapter(network, read_adapter(recipe.output / "lora"))
    return network.to(device).eval()


def _pictures(batches: LatentBatches, count: int) -> Iterator[Batch]:
    """The first pictures, each alone."""
    for batch in batches.first(count):
        for at in range(len(batch["places"])):
            part, drafts = slice(at, at + 1), batch["drafts"]
            yield {
                "latents": batch["latents"][part],
                "drafts": None if drafts is None else drafts[part],
                "conditioning": {k: v[part] for k, v in batch["conditioning"].items()},
                "indices": batch["indices"][part],
                "places": batch["places"][part],
            }
