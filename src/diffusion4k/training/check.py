"""What would end a run late, found before it starts."""

import math
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from torch import nn

from diffusion4k.config.part import Part
from diffusion4k.data.buckets import sizes_for
from diffusion4k.data.plan import check_posterior
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Family
from diffusion4k.families.quantization import check_weights_option
from diffusion4k.lora import check_adapter, check_adapter_options, check_targets
from diffusion4k.objectives import Objective
from diffusion4k.training.checkpoint.checkpoint import checkpoints
from diffusion4k.training.engine.context_parallel import check_context_parallel
from diffusion4k.training.engine.float8 import check_float8
from diffusion4k.training.engine.optimizers import check_optimizer, state_share
from diffusion4k.training.engine.parameters import trained_parameters
from diffusion4k.training.engine.zero import check_deepspeed
from diffusion4k.training.recipe.build import (
    adapter_options,
    build_objective,
    build_timesteps,
    chosen_engine,
    unshareable,
)
from diffusion4k.training.recipe.own_parts import check_own_distribution, check_own_objective
from diffusion4k.training.recipe.recipe import Recipe, RunRecipe
from diffusion4k.training.watch.trackers import check_trackers

__all__ = [
    "check_recipe",
    "check_side",
    "copies_in_checkpoint",
    "most_checkpoints",
    "recipe_checks",
    "require_space",
]


def check_recipe(recipe: Recipe, family: Family, model: Path) -> None:
    """Refuse what only the model or the libraries can judge, at the first of `recipe_checks`."""
    for check in recipe_checks(recipe, family, model):
        check()


def recipe_checks(recipe: Recipe, family: Family, model: Path) -> list[Callable[[], object]]:
    """Checks that refuse what only the model or the libraries can judge, each for itself.

    They raise:
        Diffusion4kError: a package is missing for the frozen weights of adapters, or a LoRA to
            begin with is not of this model.
        UsageError: an unknown wavelet, a distribution out of range, code of one's own that is not
            there or fails, a tracker that is not installed, adapters on layers that the model has
            not, batches where positions follow the noise level, or crops or images larger than it
            takes.
    """
    objective = cache(partial(build_objective, recipe))
    checks: list[Callable[[], object]] = [
        partial(_check_objective, objective, recipe, family, model),
        partial(_check_timesteps, recipe, family, model),
        partial(check_trackers, recipe.log),
        partial(check_optimizer, recipe.optimizer),
        partial(_check_engine, recipe),
        partial(_check_positions, recipe, family, model),
        partial(_check_pairs, objective, recipe, family),
    ]
    if recipe.posterior == "sample":
        checks.append(partial(check_posterior, family))
    if recipe.lora:
        checks.append(partial(check_weights_option, recipe.lora.weights))
        if recipe.lora.targets:
            skeleton = family.transformer_skeleton(model)
            checks.append(partial(check_targets, skeleton, recipe.lora.targets))
        if recipe.lora.start or recipe.lora.rank_pattern or recipe.lora.alpha_pattern:
            checks.append(partial(_check_adapters, recipe, family, model))
    if recipe.context_parallel > 1:
        skeleton = family.transformer_skeleton(model)
        checks.append(partial(check_context_parallel, skeleton, recipe.context_parallel))
    largest, settings = family.max_side(model), recipe.validation
    sides = {"crop": max(recipe.crop_size)}
    if recipe.buckets:
        checks.append(partial(_check_buckets, recipe, family, largest))
    if settings.prompts:
        sides |= {
            "validation.width": settings.width or 0,
            "validation.height": settings.height or 0,
        }
        checks.append(partial(_check_sampling_steps, settings.sampling_steps, family, model))
    checks += [partial(check_side, key, side, largest, recipe.model) for key, side in sides.items()]
    return checks


def _check_adapters(recipe: Recipe, family: Family, model: Path) -> None:
    assert recipe.lora
    options = adapter_options(recipe.lora, family)
    skeleton = family.transformer_skeleton(model)
    for adapter, scale in options["start"]:
        check_adapter(
            adapter, family=family.name, model=recipe.model, transformer=skeleton, scale=scale
        )
    del options["rank"], options["alpha"]
    check_adapter_options(skeleton, **options)


def _check_objective(
    build: Callable[[], Objective], recipe: Recipe, family: Family, model: Path
) -> None:
    check_own_objective(recipe, build(), family, model)


def _check_timesteps(recipe: Recipe, family: Family, model: Path) -> None:
    check_own_distribution(recipe, build_timesteps(recipe, family, model))


def _check_sampling_steps(steps: int | None, family: Family, model: Path) -> None:
    if steps is not None and steps < (least := family.least_steps(model)):
        raise UsageError(
            f"validation.sampling_steps: found {steps}, allowed a number of at least {least}, as "
            "the model's schedule needs"
        )


def _check_engine(recipe: Recipe) -> None:
    if recipe.precision == "fp8":
        check_float8()
    if recipe.engine == "deepspeed":
        if recipe.optimizer.name != "adamw":
            raise UsageError(
                f"optimizer.name: found {recipe.optimizer.name} with engine=deepspeed, which cuts "
                "weights anywhere: choose adamw, or another engine"
            )
        check_deepspeed()
    whole = unshareable(recipe)
    if whole and recipe.engine == "fsdp2":
        raise UsageError(
            f"{whole} with engine=fsdp2, which cannot shard it: choose engine=ddp, or "
            "the optimizer adamw or muon and weights of nf4"
        )
    if recipe.offload and chosen_engine(recipe) == "ddp":
        raise UsageError(
            "offload: found true, allowed with engine=fsdp2, the optimizers adamw and muon and no "
            "weights of int8, or with engine=deepspeed"
        )


def _check_positions(recipe: Recipe, family: Family, model: Path) -> None:
    if family.high_resolution(model).time_dependent and recipe.batch_size > 1:
        raise UsageError(
            f"batch_size: found {recipe.batch_size}, allowed 1 with high_resolution.time_dependent:"
            " pictures of one batch have different noise levels, and share their positions"
        )


def _check_buckets(recipe: Recipe, family: Family, largest: int) -> None:
    widest = max(max(s) for s in sizes_for(family.factor, recipe.resolution, recipe.longest))
    if widest > largest:
        fitting = math.floor(100 * (largest / recipe.resolution) ** 2) / 100
        raise UsageError(
            f"buckets.longest: found {recipe.longest:g}, by which pictures are up to {widest} "
            f"pixels wide, allowed at most {largest}, the most that {recipe.model} accepts: lower "
            f"it to {fitting:g}, or see high_resolution.positions"
        )


def _check_pairs(build: Callable[[], Objective], recipe: Recipe, family: Family) -> None:
    try:
        objective = build()
    except UsageError:
        return  # as `_check_objective` says
    levels = getattr(objective, "levels", 0) if isinstance(objective, Part) else 0
    pairs = 2**levels * family.factor
    if levels and any(s % pairs for s in recipe.crop_size):
        raise UsageError(
            f"crop: found {'x'.join(map(str, recipe.crop_size))}, allowed multiples of {pairs}: "
            f"the wavelet takes {2**levels} latents at a time, of {family.factor} pixels each in "
            f"{recipe.model}"
        )
    sizes = sizes_for(family.factor, recipe.resolution, recipe.longest)
    if levels and any(side % pairs for size in sizes for side in size):
        raise UsageError(
            f"objective: found a wavelet that takes {2**levels} latents at a time, multiples of "
            f"{pairs} pixels, with buckets, whose sizes are not: lower objective.transform.levels, "
            "or leave out buckets"
        )


def check_side(key: str, side: int, largest: int, model: str) -> None:
    """Refuse sides in pixels that the model cannot do.

    Raises:
        UsageError: `side` is more than `largest`.
    """
    if side > largest:
        raise UsageError(f"{key}: found {side}, allowed at most {largest}, all that {model} takes")


def copies_in_checkpoint(recipe: RunRecipe) -> float:
    """Trained weights, what the optimizer keeps, and the average if there is one, over float32."""
    return 1 + state_share(recipe.optimizer.name) + (recipe.ema is not None)


def most_checkpoints(recipe: RunRecipe) -> int:
    """Checkpoints on the disk at once: before an old one goes, a new one is written."""
    settings = recipe.checkpoint
    milestones = recipe.steps // settings.keep_every if settings.keep_every else 0
    written = math.ceil(recipe.steps / settings.every)
    return min(written, settings.keep + 1 + milestones)


def require_space(recipe: RunRecipe, network: nn.Module, *beside: nn.Module) -> None:
    """Refuse a disk that cannot hold the checkpoints.

    See `copies_in_checkpoint` and `most_checkpoints`. The model at the end takes one copy of the
    weights more. Networks that are trained `beside` it have no average.

    Raises:
        Diffusion4kError: says how much is free and how much is needed.
    """
    weights, *others = (
        4 * sum(p.numel() for p in trained_parameters(n).values()) for n in (network, *beside)
    )
    each = weights * copies_in_checkpoint(recipe) + 3 * sum(others)
    to_come = max(most_checkpoints(recipe) - len(checkpoints(recipe.output / "checkpoints")), 1)
    needed, free = to_come * each + weights, shutil.disk_usage(recipe.output).free
    if needed > free:
        raise Diffusion4kError(
            f"{recipe.output}: {needed / 1e9:.1f} GB are needed for checkpoints of "
            f"{each / 1e9:.1f} GB each, {free / 1e9:.1f} GB are free: make room, choose another "
            "output, or lower checkpoint.keep"
        )
