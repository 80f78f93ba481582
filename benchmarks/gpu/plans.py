"""What `diffusion4k plan` says of the parts, in GiB of tensors and seconds on the device's kind."""

from functools import partial
from typing import Any

import torch

from benchmarks.gpu.models import RandomModel
from benchmarks.gpu.setting import GIB, Setting
from benchmarks.gpu.training import recipe_of
from diffusion4k.accounting.machine import Machine, described_machine
from diffusion4k.accounting.stages import PlannedStage, decoding_stage
from diffusion4k.planning.generation import GenerationSetup, plan_generation
from diffusion4k.planning.plan import Plan
from diffusion4k.planning.training import plan_training
from diffusion4k.sampling.options import SamplingOptions

__all__ = ["decoding", "image", "training", "windows"]


def image(setting: Setting, name: str, memory: str, weights: str | None = None) -> dict[str, float]:
    """Of an image that is made directly."""
    return _generation(setting, name, memory=memory, weights=weights, stages=())


def windows(setting: Setting, name: str) -> dict[str, float]:
    """Of an image in two stages."""
    return _generation(setting, name, stages=(setting.side // 4, setting.side), factor=16)


def decoding(setting: Setting, name: str) -> dict[str, float]:
    """Of each way to decode."""
    blueprint = RandomModel(name, setting).blueprint
    size = setting.side, setting.side, torch.bfloat16
    decode = partial(decoding_stage, blueprint, *size, gpu=True)
    limited = decode(max_memory=None if setting.tiny else 2**30)
    return {
        "strips_peak_gib": decode().peak / GIB,
        "strips_1gib_peak_gib": limited.peak / GIB,
        "folded_peak_gib": decode(lean=False).peak / GIB,
    }


def training(setting: Setting, name: str, **keys: Any) -> dict[str, float]:
    """Of a training step on one GPU."""
    model = RandomModel(name, setting)
    recipe = recipe_of(setting, str(model.folder), **keys)
    plan = plan_training(model.blueprint, recipe, _machine())
    steps = [stage for stage in plan.stages if stage.name in ("training step", "optimizer step")]
    return {"step_seconds": plan.step_seconds, "peak_gib": max(s.peak for s in steps) / GIB}


def _generation(
    setting: Setting,
    name: str,
    *,
    memory: str = "balanced",
    weights: str | None = None,
    factor: int | None = None,
    **options: Any,
) -> dict[str, float]:
    blueprint = RandomModel(name, setting, factor).blueprint
    sampling = SamplingOptions(width=setting.side, height=setting.side, **options)
    setup = GenerationSetup.of(
        blueprint, sampling, on_gpu=True, dtype="bfloat16", memory=memory, weights=weights
    )
    plan = plan_generation(blueprint, setup, _machine())
    denoising, decoding = _last(plan, "denoising"), _last(plan, "decoding")
    return {
        "step_seconds": plan.step_seconds,
        "denoising_peak_gib": denoising.peak / GIB,
        "decoding_peak_gib": decoding.peak / GIB,
        "peak_gib": max(denoising.peak, decoding.peak) / GIB,
    }


def _last(plan: Plan, name: str) -> PlannedStage:
    return next(stage for stage in reversed(plan.stages) if stage.name.startswith(name))


def _machine() -> Machine:
    """One GPU; the speed of an A100, as published times are of one."""
    return described_machine(gpus=1)
