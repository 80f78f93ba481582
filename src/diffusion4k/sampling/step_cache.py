"""What the network computed in one step of an image, used again in the steps that follow.

From one step to the next most of what a transformer computes hardly changes. The hooks of diffusers
keep it; here they are put on for one image (or one stage of it), and told which calls belong
together:

- `first-block[:threshold]`: where the first block's contribution differs from that of the last
  full step by no more than the threshold, relatively, that of the other blocks is used again (First
  Block Cache of ParaAttention, after TeaCache, arXiv 2411.19108);
- `taylorseer[:interval]`: of so many steps one is computed, and the others are extrapolated from
  the last two by Taylor's formula (arXiv 2503.06923). What is extrapolated is the prediction for
  the whole image, so that windows may lie anywhere;
- `mag[:threshold]`: the blocks are skipped for as long as the magnitudes of their contributions,
  measured once for each model, say that the error stays below the threshold (MagCache, arXiv
  2506.09045).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import CacheMixin
from diffusers.hooks import (
    FirstBlockCacheConfig,
    HookRegistry,
    MagCacheConfig,
    TaylorSeerCacheConfig,
)
from torch import Tensor, nn

from diffusion4k.errors import UsageError
from diffusion4k.families.base import Family
from diffusion4k.families.spatial import SpatialCall
from diffusion4k.sampling.cache_option import CacheOption

__all__ = ["GRID_STEPS", "HookedParts", "Prediction", "StepCache"]

GRID_STEPS = 4
"""Steps for which a shifted grid of windows stays where it is beside a cache inside blocks."""
_WARM_UP = 3


class Prediction(nn.Module):
    """The prediction for some samples of a call: a module, so that a hook can stand in for it."""

    def forward(self, call: SpatialCall, samples: Tensor) -> Tensor:
        """`(N, C', h, w)` for the samples `(N,)`, by their numbers."""
        return call.predict(call.latents[samples.to(call.latents.device)], samples)


class HookedParts(nn.Module, CacheMixin):
    """Parts of a network, and diffusers' switch of caches for them.

    So the switch works for all families, also for those whose class of transformer has none.
    """

    @classmethod
    def blocks_of(cls, transformer: nn.Module, family: Family) -> Any:
        """The lists of a transformer's blocks, by their names."""
        family.prepare_block_cache(transformer)
        found = cls()
        for name, part in transformer.named_children():
            if isinstance(part, nn.ModuleList):
                found.add_module(name, part)
        return found

    @classmethod
    def whole(cls, prediction: Prediction) -> Any:
        """The whole prediction, as the part `prediction`."""
        found = cls()
        found.add_module("prediction", prediction)
        return found


class StepCache:
    """The hooks of a cache on one image's network, and the names of its calls.

    Args:
        option: which cache.
        prediction: what the outermost module around the transformer asks for whole predictions.
        stock: the transformer itself.
        steps: that are made of this image.
        ratios: of `mag`, `(steps,)`.

    Raises:
        UsageError: diffusers cannot skip the blocks of such a transformer.
    """

    def __init__(
        self,
        option: CacheOption,
        prediction: Prediction,
        stock: nn.Module,
        family: Family,
        steps: int,
        ratios: Tensor | None = None,
    ) -> None:
        self.is_inside_blocks = option.is_inside_blocks
        self._names: list[str] = []
        if option.is_inside_blocks:
            self._parts = HookedParts.blocks_of(stock, family)
        else:
            self._parts = HookedParts.whole(prediction)
        try:
            self._parts.enable_cache(_configuration(option, steps, ratios))
        except (ValueError, IndexError):  # It knows no such blocks, or there is one alone.
            raise UsageError(
                f"cache {option}: diffusers cannot skip the blocks of this {family.name} model: "
                "take taylorseer, or leave it out"
            ) from None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Calls that come again in every step, and are the same but for the step."""
        self._names.append(name)
        try:
            with self._parts.cache_context("/".join(self._names)):
                yield
        finally:
            self._names.pop()

    def forget(self) -> None:
        """Keep nothing of the steps before."""
        HookRegistry.check_if_exists_or_initialize(self._parts).reset_stateful_hooks(recurse=True)

    def take_off(self) -> None:
        """Leave the network as it was."""
        self._parts.disable_cache()


def _configuration(option: CacheOption, steps: int, ratios: Tensor | None) -> Any:
    if option.kind == "first-block":
        return FirstBlockCacheConfig(threshold=option.number)
    if option.kind == "mag":
        assert ratios is not None
        return MagCacheConfig(threshold=option.number, num_inference_steps=steps, mag_ratios=ratios)
    return TaylorSeerCacheConfig(
        cache_interval=int(option.number),
        disable_cache_before_step=_WARM_UP,
        # No step after the last one makes good what it gets wrong.
        disable_cache_after_step=steps - 1,
        taylor_factors_dtype=torch.float32,
        cache_identifiers=["prediction"],
    )
