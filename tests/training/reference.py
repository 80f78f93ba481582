"""A training step written out by hand: no part of the package's loop, objectives or optimizers."""

import math
from collections.abc import Callable

import torch
from diffusers import SD3Transformer2DModel

from diffusion4k.data.cache import LatentCache
from diffusion4k.training.engine.randomness import generator_at
from diffusion4k.training.pictures import training_batches
from diffusion4k.training.recipe.recipe import Recipe


def weights_after_one_step(recipe: Recipe, *, world: int = 1) -> dict[str, torch.Tensor]:
    """All micro-batches of all processes as one big batch, one AdamW step in plain PyTorch.

    The wavelet objective with equal weights is `mean((v - (noise - x))^2)` by Parseval, and of
    the latents sigma^2 times it.
    """
    model = SD3Transformer2DModel.from_pretrained(recipe.model, subfolder="transformer")
    loss_of_one_step(recipe, model, world=world).backward()
    gradients = {name: p.grad.double() for name, p in model.named_parameters()}
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients.values()))
    factor = min(1.0, recipe.clip_norm / (norm + 1e-6)) if recipe.clip_norm else 1.0
    wanted = recipe.optimizer
    result = {}
    for name, parameter in model.named_parameters():
        g = gradients[name] * factor
        # After bias correction the first moments are the gradient and its square.
        step = g / (g.abs() + wanted.eps)
        decayed = parameter.detach().double() * (1 - wanted.learning_rate * wanted.weight_decay)
        result[name] = (decayed - wanted.learning_rate * step).float()
    return result


def loss_of_one_step(recipe: Recipe, model: Callable, *, world: int = 1) -> torch.Tensor:
    """The first step's loss, `model` being called as the stock transformer is."""
    batches = training_batches(recipe, LatentCache(recipe.cache_folder))
    parts = [(m, rank) for m in range(recipe.gradient_accumulation) for rank in range(world)]
    latents, conditioning, sigma, noise = [], [], [], []
    for micro, rank in parts:
        batch = batches.batch(0, micro, rank, world)
        x, c = batch["latents"], batch["conditioning"]
        latents.append(x)
        conditioning.append(c)
        for place in batch["places"].tolist():
            generator = generator_at(recipe.seed, 0, place)
            noise.append(torch.randn(1, *x.shape[1:], generator=generator))
            sigma.append(torch.sigmoid(torch.randn(1, generator=generator)))
    x, s, n = torch.cat(latents), torch.cat(sigma), torch.cat(noise)
    weight = s[:, None, None, None]
    velocity = model(
        hidden_states=x + weight * (n - x),
        timestep=1000 * s,
        encoder_hidden_states=torch.cat([c["prompt_embeds"] for c in conditioning]).float(),
        pooled_projections=torch.cat([c["pooled_prompt_embeds"] for c in conditioning]).float(),
    ).sample
    factor = weight if recipe.objective.space == "latents" else 1
    return (factor**2 * (velocity - (n - x)) ** 2).mean()
