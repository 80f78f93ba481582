"""What a training step takes on one device: it is run on shapes alone, and counted.

The step is the one of `training.step`, forward and backward, with the autocast, the recomputation
and the adapters of a real run; see `accounting` for how it is counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.computation import Autocast, FusedAttention
from diffusion4k.accounting.machine import Machine
from diffusion4k.accounting.stages import (
    PlannedStage,
    counting,
    empty_conditioning,
    empty_latents,
    stage_of,
    tensors_of,
)
from diffusion4k.accounting.tracker import CostTracker
from diffusion4k.families.base import meta_tensor
from diffusion4k.lora import add_adapter
from diffusion4k.objectives import Objective
from diffusion4k.training.engine.engine import blocks_of
from diffusion4k.training.engine.optimizers import state_share
from diffusion4k.training.engine.recompute import Recompute, recompute
from diffusion4k.training.recipe.build import adapter_options, build_objective
from diffusion4k.training.recipe.recipe import LoraRecipe, Recipe
from diffusion4k.training.step import denoising_loss

if TYPE_CHECKING:
    from diffusers import ModelMixin

__all__ = ["TrainingSetup", "training_setup", "training_stages"]


@dataclass(frozen=True)
class TrainingSetup:
    """What decides what a training step takes on one device."""

    width: int
    height: int
    batch_size: int
    objective: Objective
    gradient_checkpointing: Recompute
    gradient_accumulation: int = 1
    bfloat16: bool = False
    """Computations in bfloat16 by autocast; weights stay float32."""
    average: bool = False
    lora: LoraRecipe | None = None
    """Adapters that are trained in place of all weights, which are frozen then."""
    processes: int = 1
    weights: torch.dtype = torch.float32
    """Type of the trained weights, as `train` has them, and of all that goes with them."""
    moments: float = 2
    """Averages that the optimizer keeps of each weight: AdamW's two."""


def training_setup(recipe: Recipe, machine: Machine) -> TrainingSetup:
    """What of a recipe decides about a step on one device of the machine."""
    width, height = recipe.crop_size  # with buckets, that of all of them: they have one area
    automatic = recipe.precision == "auto" and machine.on_gpu
    return TrainingSetup(
        width=width,
        height=height,
        batch_size=recipe.batch_size,
        objective=build_objective(recipe),
        gradient_checkpointing=recipe.gradient_checkpointing,
        gradient_accumulation=recipe.gradient_accumulation,
        bfloat16=recipe.precision in ("bf16", "fp8") or automatic,
        average=recipe.ema is not None,
        moments=state_share(recipe.optimizer.name),
        lora=recipe.lora,
        # DeepSpeed has its bucket in one process, too.
        processes=max(machine.gpus, 2 if recipe.engine == "deepspeed" else 1),
    )


def training_stages(model: Blueprint, setup: TrainingSetup, *, gpu: bool) -> list[PlannedStage]:
    """Forward and backward of a step, and the optimizer's update, in the steady state."""
    transformer = _trained(model, setup).train()
    parameters = [p for p in transformer.parameters() if p.requires_grad]
    autocast = Autocast(gpu=gpu) if setup.bfloat16 else None
    if setup.gradient_checkpointing:
        again = partial(_again, autocast)
        blocks = blocks_of(transformer)
        transformer.enable_gradient_checkpointing(
            recompute(setup.gradient_checkpointing, blocks, again)
        )
    with counting(model, gpu, autocast) as tracker:
        if autocast:
            autocast.copying = partial(tracker.as_part, "weight copies")
        tracker.hold("weights", tensors_of(transformer))
        copies = {"optimizer": setup.moments, "average": float(setup.average)}
        # Data-parallel buckets, in which gradients travel, are a copy of all of them.
        copies["gradient buckets"] = float(setup.processes > 1)
        held = [_copies(tracker, part, parameters, n) for part, n in copies.items()]
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(
                lambda p: tracker.hold("gradients", [p.grad])
            )
        # Peak and computations of the third micro-batch are the second's.
        for _ in range(min(setup.gradient_accumulation, 2)):
            before = tracker.flops
            _micro_batch(model, transformer, setup, autocast)
        flops = tracker.flops - before
        step = replace(
            stage_of("training step", tracker), flops=flops * setup.gradient_accumulation
        )
        tracker.forget_peak()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if setup.moments != 2:  # AdamW's kernel changes all in place
            with tracker.as_part("temporary"):
                _of_update(parameters, gpu)
        update = replace(stage_of("optimizer step", tracker), flops=0)
        del held
    return [step, update]


def _trained(model: Blueprint, setup: TrainingSetup) -> "ModelMixin":
    """The transformer as `train` has it: whole in float32, or frozen under adapters."""
    if setup.lora is None:
        return model.build("transformer", setup.weights).requires_grad_(True)
    transformer = model.build("transformer", torch.bfloat16 if setup.bfloat16 else torch.float32)
    add_adapter(transformer, **adapter_options(setup.lora, model.family), seed=0)
    return transformer


def _micro_batch(
    model: Blueprint,
    transformer: nn.Module,
    setup: TrainingSetup,
    autocast: Autocast | None,
) -> None:
    latents = empty_latents(model, setup.batch_size, setup.width, setup.height)
    latents = latents.to(setup.weights)
    noise, sigma = torch.empty_like(latents), meta_tensor(setup.batch_size, dtype=setup.weights)
    conditioning = empty_conditioning(model, setup.batch_size, setup.weights)
    with autocast.forward() if autocast else nullcontext():
        loss = denoising_loss(
            model.family,
            transformer,
            setup.objective,
            latents=latents,
            conditioning=conditioning,
            noise=noise,
            sigma=sigma,
        ).mean()
    loss.backward()


def _copies(
    tracker: CostTracker, part: str, parameters: list[nn.Parameter], number: float
) -> list[Tensor]:
    with tracker.as_part(part):
        return [p.new_empty(int(number * p.numel())) for p in parameters]


@contextmanager
def _again(autocast: Autocast | None) -> Iterator[None]:
    # torch leaves our modes out when a block is computed for the second time.
    with FusedAttention(), autocast or nullcontext():
        yield


def _of_update(parameters: list[nn.Parameter], gpu: bool) -> list[Tensor]:
    """Numbers beside them: for all parameters at once on GPUs, one by one on the CPU."""
    largest = max(parameters, key=lambda p: p.numel())
    return [torch.empty_like(p) for p in (parameters if gpu else [largest, largest])]
