"""Measuring what `--cache mag` must know of a model, once.

    sampler = Sampler("path/to/model")
    ratios = mag_ratios(sampler, Request("a lake", width=1024, height=1024, steps=28, stages=()))

They belong into the model's `diffusion4k.json` as `"mag_ratios"`.
"""

from typing import TYPE_CHECKING

import torch
from diffusers import CacheMixin
from diffusers.hooks import MagCacheConfig
from torch import nn

from diffusion4k.sampling.request import Request

if TYPE_CHECKING:
    from diffusion4k.sampling.sampler import Sampler

__all__ = ["mag_ratios"]

_HOOK = "mag_cache_leader_block_hook"


class _Blocks(nn.Module, CacheMixin):
    """The blocks of a transformer, for diffusers' switch of caches."""


def mag_ratios(sampler: "Sampler", request: Request) -> list[float]:
    """How the magnitude of what the blocks add changes from each step of an image to the next.

    Args:
        request: an image that is made directly, without a cache.

    Returns:
        One number for each step; the first is 1.
    """
    settings = sampler.settle(request)
    transformer = sampler.pipeline.transformer
    sampler.family.prepare_block_cache(transformer)
    blocks = _Blocks()
    for name, part in transformer.named_children():
        if isinstance(part, nn.ModuleList):
            blocks.add_module(name, part)
    # One step more than are made: after the last one diffusers would print and forget them.
    steps = settings.denoising_steps + 1
    blocks.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=steps))
    first = next(part for part in blocks.children() if isinstance(part, nn.ModuleList))[0]
    try:
        with blocks.cache_context("all"), torch.no_grad():
            sampler.denoise(settings)
            states = first._diffusers_hook.get_hook(_HOOK).state_manager._state_cache.values()
            # Some pipelines name their calls themselves, so that another state has them.
            found = max((state.calibration_ratios for state in states), key=len)
            return [round(ratio, 5) for ratio in found]
    finally:
        blocks.disable_cache()
