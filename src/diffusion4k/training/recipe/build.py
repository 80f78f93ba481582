"""From the words of a recipe to the objects they name."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from diffusion4k.errors import UsageError
from diffusion4k.families import Family
from diffusion4k.lora import read_adapter
from diffusion4k.objectives import Objective
from diffusion4k.timesteps import StageTimesteps, TimestepDistribution
from diffusion4k.training.recipe.recipe import LoraRecipe, Recipe, RunRecipe

__all__ = [
    "adapter_options",
    "build_objective",
    "build_precision",
    "build_timesteps",
    "chosen_engine",
    "computes_in_bf16",
    "unshareable",
]


def build_objective(recipe: Recipe) -> Objective:
    """The recipe's objective.

    Raises:
        UsageError: no such wavelet, or a value that the objective refuses.
    """
    try:
        objective: Objective = recipe.objective.build("objective")
    except ValueError as error:
        raise UsageError(f"objective: {error}") from None
    return objective


def adapter_options(wanted: LoraRecipe, family: Family) -> dict[str, Any]:
    """Keyword arguments of `lora.add_adapter` but the seed; the LoRAs to begin with are read.

    Raises:
        UsageError: no such LoRA.
        Diffusion4kError: one that cannot be read.
    """
    return {
        "kind": wanted.kind,
        "rank": wanted.rank,
        "alpha": wanted.alpha,
        "targets": wanted.targets or family.lora_targets,
        "rank_pattern": wanted.rank_pattern,
        "alpha_pattern": wanted.alpha_pattern,
        "start": [(read_adapter(each.file), each.scale) for each in wanted.start],
    }


def build_timesteps(recipe: Recipe, family: Family, model: Path) -> TimestepDistribution:
    """The recipe's distribution of sigma, for this model.

    Raises:
        UsageError: a value that the distribution refuses.
    """
    given = {}
    if getattr(recipe.timesteps, "shift", None) == "auto":
        columns, rows = (side // family.size_step for side in recipe.crop_size)
        given["shift"] = family.timestep_shift(model, columns * rows)
    try:
        whole: TimestepDistribution = recipe.timesteps.build("timesteps", **given)
    except ValueError as error:
        raise UsageError(f"timesteps: {error}") from None
    return StageTimesteps(whole, recipe.stage.start) if recipe.stage else whole


def unshareable(recipe: Recipe) -> str | None:
    """The key and value by which FSDP2 cannot share a network out; None if it can."""
    if not recipe.optimizer.is_shareable:
        return f"optimizer.name: found {recipe.optimizer.name}"
    # torchao's tensors of 8 bits cannot be cut.
    if recipe.lora and recipe.lora.weights == "int8":
        return "lora.weights: found int8"
    return None


def chosen_engine(recipe: Recipe) -> str:
    """The engine of several processes: `ddp`, `fsdp2` or `deepspeed`."""
    if recipe.engine in ("deepspeed", "ddp"):
        return recipe.engine
    return "ddp" if unshareable(recipe) else "fsdp2"


def build_precision(
    recipe: RunRecipe, device: torch.device
) -> Callable[[], AbstractContextManager[None]]:
    """`with precision():` computes as the recipe wants; trained weights stay float32 in any case.

    Raises:
        UsageError: bf16 on a GPU without it.
    """
    in_bfloat16 = computes_in_bf16(recipe, device)
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bfloat16)


def computes_in_bf16(recipe: RunRecipe, device: torch.device) -> bool:
    """Whether the recipe's precision comes to bf16 on this device.

    fp8 is bf16 but for the products of matrices. `auto` is bf16 on GPUs that have it, else fp32:
    CPUs emulate it, slower than fp32.

    Raises:
        UsageError: bf16 on a GPU without it.
    """
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if recipe.precision in ("bf16", "fp8") and not has_bf16:
        raise UsageError(
            f"precision: found {recipe.precision}, which this GPU does not have, allowed auto, fp32"
        )
    on_gpu = device.type == "cuda" and has_bf16
    return recipe.precision in ("bf16", "fp8") or (recipe.precision == "auto" and on_gpu)
