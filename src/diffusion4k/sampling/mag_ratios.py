"""Measuring what `--cache mag` must know of a model, once.

    sampler = Sampler("path/to/model")
    ratios = mag_ratios(sampler, Request("a lake", width=1024, height=1024, steps=28, stages=()))

They belong into the model's `diffusion4k.json` as `"mag_ratios"`.
"""

from typing import TYPE_CHECKING

import torch
from diffusers.hooks import MagCacheConfig

from diffusion4k.sampling.request import Request
from diffusion4k.sampling.step_cache import HookedParts

if TYPE_CHECKING:
    from diffusion4k.sampling.sampler import Sampler

__all__ = ["mag_ratios"]

_HOOK = "mag_cache_leader_block_hook"


def mag_ratios(sampler: "Sampler", request: Request) -> list[float]:
    """How the magnitude of what the blocks add changes from each step of an image to the next.

    Args:
        request: an image that is made directly, without a cache.

    Returns:
        One number for each step; the first is 1.
    """
    settings = sampler.settle(request)
    blocks = HookedParts.blocks_of(sampler.pipeline.transformer, sampler.family)
    # One step more than are made: after the last one diffusers would print and forget them.
    steps = settings.denoising_steps + 1
    blocks.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=steps))
    registries = (getattr(part, "_diffusers_hook", None) for part in blocks.modules())
    hook = next(hook for each in registries if each and (hook := each.get_hook(_HOOK)))
    try:
        with blocks.cache_context("all"), torch.no_grad():
            sampler.denoise(settings)
            states = hook.state_manager._state_cache.values()
            # Some pipelines name their calls themselves, so that another state has them.
            found = max((state.calibration_ratios for state in states), key=len)
            return [round(ratio, 5) for ratio in found]
    finally:
        blocks.disable_cache()
