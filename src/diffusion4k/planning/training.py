"""The plan of a training run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import Machine
from diffusion4k.accounting.stages import (
    PlannedStage,
    decoding_stage,
    image_encoding_stage,
    text_encoding_stage,
)
from diffusion4k.data.folder import METADATA, photo_folder, scan_folder
from diffusion4k.errors import UsageError
from diffusion4k.planning.disk import training_disk, usual_picture
from diffusion4k.planning.generation import count
from diffusion4k.planning.plan import Change, Plan, fits_device, overhead
from diffusion4k.training.check import check_side
from diffusion4k.training.engine.zero import BUCKET
from diffusion4k.training.recipe.build import chosen_engine, unshareable
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.step_cost import TrainingSetup, training_setup, training_stages

__all__ = ["plan_training"]


@dataclass(frozen=True)
class Savings:
    """Ways to need less memory."""

    checkpointing: bool
    divided: int = 1
    """Micro-batches that a batch is taken in."""
    eight_bit: bool = False
    shared: bool = False
    """Weights, gradients and moments shared out among the GPUs (FSDP2), or by DeepSpeed."""
    offload: bool = False
    lora: bool = False

    @property
    def cost(self) -> float:
        """Cost in time, or in what the result is worth."""
        doubt = 0.1 * self.eight_bit + 1.0 * self.offload + 3.0 * self.lora
        time = 0.3 * self.checkpointing + 0.1 * math.log2(self.divided) + 0.5 * self.shared
        return time + doubt


def plan_training(
    model: Blueprint, recipe: Recipe, machine: Machine, images: int | None = None
) -> Plan:
    """A run of a recipe from an empty cache to its last step, on all GPUs of the machine.

    Args:
        images: number of photographs; by default those of the recipe's folder, if it is there.

    Raises:
        UsageError: crops larger than the model takes, a global batch that the GPUs cannot divide,
            or a number of images below 1.
    """
    if images is not None and images < 1:
        raise UsageError(f"images {images}: give 1 or more")
    largest = model.family.max_side(model.folder)
    check_side("crop", max(recipe.crop_size), largest, recipe.model)
    recipe = recipe.for_processes(max(machine.gpus // recipe.context_parallel, 1))
    gpu, setup = machine.on_gpu, training_setup(recipe, machine)
    step, update = training_stages(model, setup, gpu=gpu)
    other = replace(setup, gradient_checkpointing=not setup.gradient_checkpointing)
    other_step, _ = training_stages(model, other, gpu=gpu)
    kept = bool(setup.gradient_checkpointing)
    whole = {kept: step, not kept: other_step}, update
    if _is_shared(recipe, machine):
        shares = _shares(model, recipe, machine, whole[1], offload=recipe.offload)
        step, other_step, update = (_scaled(s, shares) for s in (step, other_step, update))
    sides = usual_picture(recipe)
    # As the cache is built: text encoders in half of float32 on GPUs.
    text = text_encoding_stage(model, torch.bfloat16 if gpu else torch.float32, gpu=gpu)
    encoding = image_encoding_stage(model, *sides, gpu=gpu)
    stages = [text, encoding, step, update]
    if recipe.validation.prompts and recipe.validation.every:
        stages.append(_validation(model, recipe, step, gpu))
    without = "without" if setup.gradient_checkpointing else "with"
    step_seconds = machine.seconds(step.flops) + _exchange(whole[1], machine)
    # Every GPU encodes its share; convolutions of float32 take twice as long as of bfloat16.
    pictures = (2 if recipe.flip else 1) * (2 if gpu else 1)
    each_image = machine.seconds(text.flops + encoding.flops * pictures) / max(machine.gpus, 1)
    photographs, notes = _photographs(recipe, images)
    plan = Plan(
        what=_what(model, recipe),
        machine=machine,
        parameters={name: count(model, name) for name in model.components},
        stages=stages,
        others=[replace(other_step, name=f"training step {without} gradient checkpointing")],
        step_flops=step.flops,
        total_flops=step.flops * recipe.steps,
        step_seconds=step_seconds,
        total_seconds=step_seconds * recipe.steps + each_image * (photographs or 0),
        steps=recipe.steps,
        ram=_ram(recipe, setup, machine, count(model, "transformer")),
        disk=training_disk(model, recipe, photographs),
        notes=notes,
    )
    notes += [
        f"{stage.name} fits no device: fill the cache elsewhere, with `diffusion4k cache`"
        for stage in (text, encoding)
        if not fits_device(stage.peak + overhead(machine), machine)
    ]
    if fits_device(max(step.peak, update.peak) + overhead(machine), machine):
        return replace(plan, notes=notes)
    changes = _changes(model, recipe, setup, machine, *whole)
    return replace(plan, changes=changes, notes=notes)


def _ram(recipe: Recipe, setup: TrainingSetup, machine: Machine, parameters: int) -> int:
    """Bytes of the CPU's memory at the most.

    That is one whole network, as the processes load theirs one after the other, and beside it what
    is offloaded: of all processes together weights (with DeepSpeed their float32 copy), gradients,
    moments and average.
    """
    frozen_in_half = recipe.lora is not None and setup.bfloat16
    whole = (2 if frozen_in_half else 4) * parameters
    offloads = recipe.offload and machine.on_gpu and _is_shared(recipe, machine)
    if not offloads or recipe.lora:
        return whole * (1 + offloads)
    return whole + int(4 * parameters * (2 + setup.moments + setup.average))


def _changes(
    model: Blueprint,
    recipe: Recipe,
    setup: TrainingSetup,
    machine: Machine,
    steps: dict[bool, PlannedStage],
    update: PlannedStage,
) -> list[Change]:
    """The cheapest means that fit; none if nothing does."""
    peak_of = partial(_peak, model, recipe, setup, steps, update, machine)
    for means in sorted(_means(recipe, setup, machine), key=lambda each: each.cost):
        peak = peak_of(means)
        if fits_device(peak, machine):
            return [Change(_words(means, recipe, setup), peak)]
    return []


def _means(recipe: Recipe, setup: TrainingSetup, machine: Machine) -> Iterator[Savings]:
    checkpointing = {bool(setup.gradient_checkpointing), True}
    divided = [2**n for n in range(setup.batch_size.bit_length()) if setup.batch_size % 2**n == 0]
    shared = [False, True] if machine.on_gpu and not unshareable(recipe) else [False]
    if _is_shared(recipe, machine):
        shared = [True]
    lora = [False] if setup.lora else [False, True]
    for values in product(checkpointing, divided, [False, True], shared, [False, True], lora):
        means = Savings(*values)
        # Moments of 8 bits are of one process each, and what is offloaded was shared out.
        if (
            means.shared
            and not means.offload
            and machine.gpus < 2
            and not _is_shared(recipe, machine)
        ):
            continue
        if means.eight_bit and (means.shared or not machine.on_gpu or setup.moments != 2):
            continue
        if not means.offload or (means.shared and machine.on_gpu):
            yield means


def _is_shared(recipe: Recipe, machine: Machine) -> bool:
    """Whether `train` shares out what it holds among this machine's GPUs, or offloads it."""
    engine = chosen_engine(recipe)
    return engine == "deepspeed" or (engine == "fsdp2" and (machine.gpus > 1 or recipe.offload))


def _shares(
    model: Blueprint, recipe: Recipe, machine: Machine, update: PlannedStage, *, offload: bool
) -> dict[str, float]:
    """What of each part is on one of the GPUs that share it."""
    own = 0.0 if offload and machine.on_gpu else 1 / max(machine.gpus, 1)
    shares = dict.fromkeys(("gradients", "optimizer", "average", "temporary"), own)
    if recipe.engine == "deepspeed":
        # Beside AdamW's two moments stands a copy of the share's weights.
        shares["optimizer"] *= 3 / 2
        trained = update.parts["gradients"] // 4
        return shares | {"average": 1.0, "gradient buckets": min(BUCKET / trained, 1.0)}
    # Gathered in bfloat16 where that computes, so that autocast has nothing to copy.
    shares["gradient buckets"] = shares["weight copies"] = 0.0
    gathered = 0.5 if training_setup(recipe, machine).bfloat16 else 1.0
    # The block that computes and the next one are whole.
    shares["weights"] = min(own + 2 * gathered / max(len(model.blocks()), 2), 1.0)
    return shares


def _scaled(stage: PlannedStage, shares: dict[str, float]) -> PlannedStage:
    parts = {part: int(size * shares.get(part, 1)) for part, size in stage.parts.items()}
    return replace(stage, parts={part: size for part, size in parts.items() if size})


def _peak(
    model: Blueprint,
    recipe: Recipe,
    setup: TrainingSetup,
    steps: dict[bool, PlannedStage],
    update: PlannedStage,
    machine: Machine,
    means: Savings,
) -> int:
    """Bytes on a device, from the parts that were counted (no second run on shapes)."""
    shares = dict.fromkeys(
        ("weights", "gradients", "optimizer", "average", "gradient buckets"), 1.0
    )
    shares["temporary"] = 1.0
    if means.lora:
        adapters = _adapter_share(model)
        shares = dict.fromkeys(shares, adapters)
        shares["weights"] = (0.5 if setup.bfloat16 else 1.0) + adapters
    if means.eight_bit:
        shares["optimizer"] /= 4
        shares["temporary"] = 0
    if means.shared:
        by_part = _shares(model, recipe, machine, update, offload=means.offload)
        shares = {part: share * by_part.get(part, 1.0) for part, share in shares.items()}
    shares["activations"] = shares["workspace"] = 1 / means.divided
    if means.divided > 1 and setup.gradient_accumulation == 1:
        # From the second micro-batch on, the gradients of the first stand beside it.
        step = steps[means.checkpointing]
        whole = update.parts["gradients"] - step.parts.get("gradients", 0)
        kept = whole * shares["gradients"]
    else:
        kept = 0
    stages = (steps[means.checkpointing], update)
    peaks = [sum(size * shares.get(k, 1) for k, size in s.parts.items()) for s in stages]
    return int(max(peaks[0] + kept, peaks[1])) + overhead(machine)


def _words(means: Savings, recipe: Recipe, setup: TrainingSetup) -> tuple[str, ...]:
    words = []
    if means.checkpointing and not setup.gradient_checkpointing:
        words.append("gradient_checkpointing=true")
    if means.divided > 1:
        words.append(f"batch_size={recipe.batch_size // means.divided}")
        words.append(f"gradient_accumulation={recipe.gradient_accumulation * means.divided}")
    if means.lora:
        words.append("lora.rank=16")
    if means.eight_bit:
        words.append("optimizer.name=adamw8bit")
        words.append("engine=ddp")
    if means.shared and recipe.engine == "ddp":
        words.append("engine=fsdp2")
    if means.offload:
        words.append("offload=true")
    return tuple(words)


def _adapter_share(model: Blueprint, rank: int = 16) -> float:
    """Parameters of adapters over those of the transformer."""
    linears = model.adaptable()
    return sum(rank * (a + b) for a, b in linears) / count(model, "transformer")


def _validation(model: Blueprint, recipe: Recipe, step: PlannedStage, gpu: bool) -> PlannedStage:
    """Validation images are decoded plainly, beside all that the training holds."""
    validation = recipe.validation
    size = validation.width or recipe.crop_size[0], validation.height or recipe.crop_size[1]
    decoding = decoding_stage(model, *size, torch.float32, lean=False, gpu=gpu)
    kept = ("weights", "optimizer", "average", "gradient buckets")
    beside = {part: step.parts[part] for part in kept if part in step.parts}
    return replace(decoding.beside(**beside), name="validation images")


def _exchange(update: PlannedStage, machine: Machine) -> float:
    """Seconds in which gradients go around the GPUs (ring all-reduce), after the computations."""
    n = machine.gpus
    return 2 * (n - 1) / n * update.parts["gradients"] / machine.bandwidth if n > 1 else 0.0


def _photographs(recipe: Recipe, images: int | None) -> tuple[int | None, list[str]]:
    if images is not None:
        return images, []
    if recipe.data is None:
        return None, []
    folder = photo_folder(recipe.data)
    if not (folder / METADATA).is_file():
        return None, [f"{recipe.data}: not here: give --images to plan for its cache"]
    return len(scan_folder(folder).photos), []


def _what(model: Blueprint, recipe: Recipe) -> str:
    width, height = recipe.crop_size
    kind = recipe.lora.label if recipe.lora else "all weights"
    batch = f"batch {recipe.batch_size}"
    if recipe.gradient_accumulation > 1:
        batch += f" x {recipe.gradient_accumulation}"
    return f"{model.name}: training of {kind} at {width}x{height}, {batch}, {recipe.steps} steps"
