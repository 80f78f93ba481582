"""The plan of making one image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import torch
from torch import nn

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import Machine
from diffusion4k.accounting.stages import (
    PlannedStage,
    WindowCount,
    decoding_stage,
    denoising_stage,
    lean_encoding_stage,
    text_encoding_stage,
)
from diffusion4k.errors import UsageError
from diffusion4k.families.calls import is_guided
from diffusion4k.families.defaults import model_memory
from diffusion4k.models.published import count_parameters
from diffusion4k.planning.plan import Change, Plan, fits_device, overhead, seconds_once
from diffusion4k.planning.windows import count_windows
from diffusion4k.sampling.memory import can_stream, check_level, decoder_limit
from diffusion4k.sampling.options import SamplingOptions
from diffusion4k.sampling.request import Request, choose_dtype, settle
from diffusion4k.sampling.stages import Stage
from diffusion4k.vae import parse_memory

__all__ = ["GenerationSetup", "generation_stages", "plan_generation"]

# Bytes a parameter of a linear layer; of nf4 half a byte and the scale of each 64 (QLoRA).
_WEIGHTS = {"fp8": 1.0, "int8": 1.0, "nf4": 0.5 + 4 / 64}
_HELPS = 0.95  # less of a difference is not worth a word


@dataclass(frozen=True)
class GenerationSetup:
    """What decides what an image takes, in the words of `generate`."""

    width: int
    height: int
    steps: int
    guidance: float
    dtype: torch.dtype
    memory: str = "balanced"
    weights: str | None = None
    max_memory: int | None = None
    stages: tuple[Stage, ...] = ()
    """Stages the image is made in, the draft first; none: made directly."""

    @classmethod
    def of(
        cls,
        model: Blueprint,
        sampling: SamplingOptions | None = None,
        *,
        on_gpu: bool,
        dtype: str = "auto",
        memory: str = "balanced",
        weights: str | None = None,
        max_memory: int | str | None = None,
    ) -> "GenerationSetup":
        """What `generate` makes of the same options.

        Raises:
            UsageError: a value out of its range, or a size that the model cannot do.
        """
        dtype = choose_dtype(dtype, on_gpu=on_gpu)
        check_level(memory)
        if weights not in (None, *_WEIGHTS):
            raise UsageError(f"weights {weights}: allowed are {', '.join(_WEIGHTS)}")
        family = model.family
        settings = settle(
            Request.of(sampling or SamplingOptions(), "a picture"),
            family,
            model.folder,
            model=model.name,
            model_fingerprint="",
            dtype=dtype,
        )
        limit = parse_memory(model_memory(model.folder) if max_memory is None else max_memory)
        setup = cls(
            settings.width,
            settings.height,
            settings.steps,
            settings.guidance,
            getattr(torch, dtype),
            memory,
            weights,
            limit,
            settings.stages or (),
        )
        if limit:
            _check_decoding(model, setup, limit)
        return setup

    def made_in(self, factor: int) -> tuple[Stage, ...]:
        """The stages, or the image itself as the only one, at `factor`."""
        direct = Stage(self.width, self.height, self.steps, self.guidance, factor)
        return self.stages or (direct,)

    def options(self, than: "GenerationSetup") -> tuple[str, ...]:
        """The options of `generate` in which this differs from another one."""
        found = []
        if self.dtype != than.dtype:
            found.append(f"--dtype {str(self.dtype).rpartition('.')[2]}")
        if self.max_memory != than.max_memory and self.max_memory:
            found.append(f"--max-memory {self.max_memory / 2**30:g}GiB")
        if self.weights != than.weights:
            found.append(f"--weights {self.weights}")
        if self.memory != than.memory:
            found.append(f"--memory {self.memory}")
        return tuple(found)


def plan_generation(model: Blueprint, setup: GenerationSetup, machine: Machine) -> Plan:
    """One image, made as `generate` makes it."""
    stages = generation_stages(model, setup, gpu=machine.has_own_memory)
    made = setup.made_in(model.family.factor)
    steps = sum(stage.steps_made for stage in made)
    last = next(stage for stage in reversed(stages) if stage.name.startswith("denoising"))
    parameters = {name: count(model, name) for name in model.components}
    plain = _plain_decoding(model.at_factor(made[-1].factor), setup, machine.has_own_memory)
    how = f"{len(made)} stages, " if setup.stages else ""
    plan = Plan(
        what=f"{model.name}: one image of {setup.width}x{setup.height}, {how}{steps} steps",
        machine=machine,
        parameters=parameters,
        stages=stages,
        others=[plain],
        step_flops=last.flops,
        total_flops=sum(stage.times * stage.flops for stage in stages),
        step_seconds=seconds_once(last, machine),
        total_seconds=sum(stage.times * seconds_once(stage, machine) for stage in stages),
        steps=steps,
        ram=_ram(model, setup),
    )
    if "device" not in plan.shortages:
        return plan
    return replace(plan, changes=_changes(model, setup, machine))


def generation_stages(model: Blueprint, setup: GenerationSetup, *, gpu: bool) -> list[PlannedStage]:
    """Text encoding, a sampling step and decoding, each with all that stands beside it.

    Of an image in stages a step and the decoding of each, and the encoding of what is enlarged.
    """
    text = _text(model, setup.dtype, gpu)
    found = [text]
    for number, stage in enumerate(setup.made_in(model.family.factor)):
        parts = _stage_parts(model.at_factor(stage.factor), setup, stage, gpu, is_draft=not number)
        suffix = f" {stage.name}" if setup.stages else ""
        found += [replace(part, name=part.name + suffix) for part in parts]
    if setup.memory == "high":
        stay = text.parts["weights"]
        found[1:] = [part.beside(**{"text encoders": stay}) for part in found[1:]]
    return found


def _stage_parts(
    model: Blueprint, setup: GenerationSetup, stage: Stage, gpu: bool, *, is_draft: bool
) -> list[PlannedStage]:
    """Plans of one stage of an image: encoding (not of a draft), a sampling step, decoding."""
    size = stage.width, stage.height, setup.dtype
    limit = decoder_limit(setup.memory, setup.max_memory)
    guided = is_guided(model.family.guidance_kind(model.folder), stage.guidance)
    windows = count_windows(stage, model.family)
    transformer = _transformer_bytes(model, setup, gpu)
    # The halves of guidance are made one after the other then.
    halves = 2 if guided and gpu and setup.memory == "low" else 1
    together = 2 if guided and halves == 1 else 1
    denoising = _denoising(model, *size, together == 2, windows, gpu)
    calls = halves * (math.ceil(windows.count * together / windows.per_call) if windows else 1)
    moved = calls * _weights_moved(model, setup) if _streams(setup, gpu) else 0
    denoising = replace(
        denoising,
        parts={**denoising.parts, "weights": transformer},
        flops=halves * denoising.flops,
        times=stage.steps_made,
        moved=moved,
    )
    through_autoencoder = [] if is_draft else [_encoding(model, *size, limit, gpu)]
    through_autoencoder.append(_decoding(model, *size, limit, gpu))
    if setup.memory == "high" or not gpu:
        through_autoencoder = [part.beside(weights=transformer) for part in through_autoencoder]
    *encoding, decoding = through_autoencoder
    return [*encoding, denoising, decoding]


def _changes(model: Blueprint, setup: GenerationSetup, machine: Machine) -> list[Change]:
    """The cheapest settings that fit, or else the one that comes nearest, if it helps at all."""
    now = max(s.peak for s in generation_stages(model, setup, gpu=machine.has_own_memory))
    nearest = Change((), int(_HELPS * now) + overhead(machine))
    for other in _cheaper(model, setup, machine):
        highest = max(s.peak for s in generation_stages(model, other, gpu=machine.has_own_memory))
        change = Change(other.options(setup), highest + overhead(machine))
        if fits_device(change.peak, machine):
            return [change]
        if change.peak < nearest.peak:
            nearest = change
    return [nearest] if nearest.how else []


def _cheaper(
    model: Blueprint, setup: GenerationSetup, machine: Machine
) -> Iterator[GenerationSetup]:
    """Other settings, by what they cost in time and quality."""
    gpu = machine.has_own_memory
    dtypes = [setup.dtype]
    if machine.on_gpu and setup.dtype == torch.float32:
        dtypes.append(torch.bfloat16)
    limits: list[int | None] = [setup.max_memory]
    if setup.max_memory is None:
        limits += [limit for limit in (2**32, 2**30, 2**28) if _can_decode(model, setup, limit)]
    memories = {"high": ["high", "balanced", "low"], "balanced": ["balanced", "low"]}
    kinds = [setup.weights] if setup.weights else [None, "fp8", "nf4"] if gpu else [None]
    found = [
        replace(setup, dtype=dtype, max_memory=limit, memory=memory, weights=kind)
        for kind, memory, dtype, limit in product(
            kinds, memories.get(setup.memory, ["low"]), dtypes, limits
        )
    ]
    cost = {None: 0, "fp8": 2, "nf4": 5, "balanced": 0, "low": 3, "high": 0}
    found.sort(key=lambda s: cost[s.weights] + cost[s.memory] + limits.index(s.max_memory) / 4)
    yield from (other for other in found if other != setup)


@cache
def _text(model: Blueprint, dtype: torch.dtype, gpu: bool) -> PlannedStage:
    return text_encoding_stage(model, dtype, gpu=gpu)


@cache
def _denoising(
    model: Blueprint,
    width: int,
    height: int,
    dtype: torch.dtype,
    guided: bool,
    windows: WindowCount | None,
    gpu: bool,
) -> PlannedStage:
    return denoising_stage(model, width, height, dtype, guided=guided, windows=windows, gpu=gpu)


@cache
def _encoding(
    model: Blueprint, width: int, height: int, dtype: torch.dtype, limit: int | None, gpu: bool
) -> PlannedStage:
    return lean_encoding_stage(model, width, height, dtype, max_memory=limit, gpu=gpu)


@cache
def _decoding(
    model: Blueprint, width: int, height: int, dtype: torch.dtype, limit: int | None, gpu: bool
) -> PlannedStage:
    return decoding_stage(model, width, height, dtype, max_memory=limit, gpu=gpu)


def _plain_decoding(model: Blueprint, setup: GenerationSetup, gpu: bool) -> PlannedStage:
    return decoding_stage(model, setup.width, setup.height, setup.dtype, lean=False, gpu=gpu)


@cache
def count(model: Blueprint, component: str) -> int:
    """Parameters of a component."""
    if component == "transformer":
        return count_parameters(model.transformer)
    return count_parameters(model.autoencoder() if component == "vae" else model.build(component))


def _bytes(module: nn.Module, setup: GenerationSetup) -> int:
    """Bytes of a module's weights; linear layers in the requested kind of weights."""
    item, total = setup.dtype.itemsize, 0
    for layer in module.modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        few = _WEIGHTS.get(setup.weights or "") if isinstance(layer, nn.Linear) else None
        total += int(sum(t.numel() for t in own) * (few or item))
    return total


def _transformer_bytes(model: Blueprint, setup: GenerationSetup, gpu: bool) -> int:
    """Bytes of the transformer's weights that are on the device at once."""
    whole = _bytes(model.transformer, setup)
    if not _streams(setup, gpu):
        return whole
    blocks = sorted((_bytes(block, setup) for block in model.blocks()), reverse=True)
    # The next block comes while one computes.
    return whole - sum(blocks) + sum(blocks[:2])


def _streams(setup: GenerationSetup, gpu: bool) -> bool:
    """Whether the transformer's blocks come to the device one by one."""
    return gpu and setup.memory == "low" and can_stream(setup.weights)


def _can_decode(model: Blueprint, setup: GenerationSetup, limit: int) -> bool:
    """Whether `generate` would take this limit."""
    try:
        _check_decoding(model, setup, limit)
    except UsageError:
        return False
    return True


def _check_decoding(model: Blueprint, setup: GenerationSetup, limit: int) -> None:
    for stage in setup.made_in(model.family.factor):
        own = model.at_factor(stage.factor)
        autoencoder = own.autoencoder(setup.dtype)
        own.family.check_decode_memory(autoencoder, stage.width, stage.height, limit)


def _weights_moved(model: Blueprint, setup: GenerationSetup) -> int:
    return sum(_bytes(block, setup) for block in model.blocks())


def _ram(model: Blueprint, setup: GenerationSetup) -> int:
    """The largest component passes through main memory when it is loaded."""
    return max(count(model, name) for name in model.components) * setup.dtype.itemsize
