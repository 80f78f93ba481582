"""The transformer that a run trains: all of its weights, or adapters on frozen ones."""

from pathlib import Path
from typing import cast

import torch
from diffusers import ModelMixin

from diffusion4k.data.sequence import Stream
from diffusion4k.families import Family
from diffusion4k.families.quantization import load_transformer
from diffusion4k.lora import add_adapter
from diffusion4k.training.engine.engine import blocks_of
from diffusion4k.training.engine.float8 import to_float8
from diffusion4k.training.engine.randomness import generator_at
from diffusion4k.training.engine.recompute import recompute
from diffusion4k.training.recipe.build import adapter_options, computes_in_bf16
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["load_network"]


def load_network(recipe: Recipe, family: Family, model: Path, device: torch.device) -> ModelMixin:
    """The transformer as the model has it; what is trained takes gradients.

    Layers whose output nothing sees do not: there are none for them.

    Trained weights are float32 whatever the precision: the steps of a learning rate of 1e-6 are
    smaller than bfloat16's spacing and would be lost. Frozen ones have the precision of the
    computations or fewer bits, as nothing is added to them.
    """
    adapter = recipe.lora
    if adapter is None:
        full = family.load_transformer(model, dtype=torch.float32)
        transformer = cast(ModelMixin, full.requires_grad_(True))
    else:
        dtype = torch.bfloat16 if computes_in_bf16(recipe, device) else torch.float32
        frozen = load_transformer(family, model, dtype=dtype, weights=adapter.weights)
        transformer = cast(ModelMixin, frozen)
        add_adapter(
            transformer,
            **adapter_options(adapter, family),
            seed=generator_at(recipe.seed, Stream.ADAPTER).initial_seed(),
        )
    for name in family.unseen_layers(transformer):
        transformer.get_submodule(name).requires_grad_(False)
    transformer.train()
    if recipe.precision == "fp8":
        to_float8(transformer)
    blocks = blocks_of(transformer)
    if recipe.gradient_checkpointing is True:
        transformer.enable_gradient_checkpointing()
    elif recipe.gradient_checkpointing:
        transformer.enable_gradient_checkpointing(recompute(recipe.gradient_checkpointing, blocks))
    if recipe.compile:
        for block in blocks:
            # In place, so that names of weights stay as they are.
            block.compile()
    return transformer
