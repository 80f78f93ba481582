"""A warning before a run that memory will not suffice for, at next to no cost.

What surely fits is recognised by a bound that needs only the sizes of the layers; only where the
bound is above the free memory the plan is made, which is nothing beside such a run.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import Machine, present_machine
from diffusion4k.errors import Diffusion4kError
from diffusion4k.families.component import (
    weight_files,
)
from diffusion4k.models.folder import (
    component_folder,
)
from diffusion4k.models.published import count_parameters
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.planning.plan import Plan
from diffusion4k.planning.report import verdict
from diffusion4k.planning.training import plan_training
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.support.processes import is_main, process_count
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["generation_warning", "training_warning"]

# Bytes a parameter: weights, gradients, two moments, buckets and an average, all in float32.
_STATE = 28
# Numbers of 4 bytes that a training keeps for each output of a linear layer, at most.
_KEPT = 4
# Maps of the decoder's widest level at full size that a decode holds, at most.
_MAPS = 4


def training_warning(recipe: Recipe, machine: Machine | None = None) -> str | None:
    """One line if this machine's memory does not suffice for the recipe, with the way out."""
    if not is_main():  # One process in a run on several GPUs says it.
        return None
    try:
        machine = machine or present_machine(measured=False).of_run(process_count())
        model = Blueprint(recipe.model, **recipe.model_options)
        width, height = recipe.crop_size
        tokens = recipe.batch_size * width * height // model.family.size_step**2
        parameters, outputs = _layers(model)
        pixels = 1.5 * recipe.resolution**2
        bound = max(
            _STATE * parameters + 4 * _KEPT * tokens * outputs, _picture_bound(model, pixels)
        )
        if bound < machine.memory:
            return None
        return _warning(plan_training(model, recipe, machine))
    except Diffusion4kError:  # The run itself says it better.
        return None


def generation_warning(
    model: str,
    factor: int | None,
    sampling: SamplingOptions,
    options: Mapping[str, Any] | None = None,
    machine: Machine | None = None,
    high_resolution: Mapping[str, object] | None = None,
) -> str | None:
    """One line if this machine's memory does not suffice for an image, with the way out.

    `options` are the others of `GenerationSetup.of`, `high_resolution` those of `Blueprint`.
    """
    try:
        blueprint = Blueprint(model, factor, high_resolution)
        machine = machine or present_machine(measured=False)
        setup = GenerationSetup.of(blueprint, sampling, on_gpu=machine.on_gpu, **(options or {}))
        parameters, outputs = _layers(blueprint)
        pixels = setup.width * setup.height
        tokens = 2 * pixels // blueprint.family.size_step**2
        kept = 4 * _KEPT * tokens * outputs // max(len(blueprint.blocks()), 1)
        if 4 * parameters + kept + _picture_bound(blueprint, pixels) < machine.memory:
            return None
        return _warning(plan_generation(blueprint, setup, machine))
    except Diffusion4kError:
        return None


def _warning(plan: Plan) -> str | None:
    return f"warning: {verdict(plan)}" if "device" in plan.shortages else None


def _layers(model: Blueprint) -> tuple[int, int]:
    """Parameters, and outputs of the transformer's linear layers for a token.

    For text encoders only the sizes of files count, which hold two bytes a parameter or more.
    """
    linears = [part for part in model.transformer.modules() if isinstance(part, nn.Linear)]
    own = count_parameters(model.transformer)
    files = [
        f
        for name in model.text_encoders
        for f in weight_files(component_folder(model.folder, name))
        if f.is_file()
    ]
    text = sum(file.stat().st_size for file in files) // 2
    return max(own, text), sum(linear.out_features for linear in linears)


def _picture_bound(model: Blueprint, pixels: float) -> int:
    """Bytes of an autoencoder's feature maps at full size, two levels at the finest."""
    widest = max(p.shape[0] for p in model.autoencoder().parameters())
    return int(4 * _MAPS * widest * pixels)
