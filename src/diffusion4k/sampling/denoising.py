"""The network of one image's steps: guidance and caches around the stock transformer.

From the pipeline inwards: `DenoisingTransformer` here, then a stage's windows, then the stock
transformer. Where neither is asked for, nothing stands between pipeline and transformer.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.hooks.mag_cache import nearest_interp
from torch import Tensor, nn

from diffusion4k.families.base import Family
from diffusion4k.families.calls import is_guided
from diffusion4k.families.spatial import SpatialCall
from diffusion4k.sampling.around import AroundTransformer
from diffusion4k.sampling.cache_option import CacheOption
from diffusion4k.sampling.guidance import GuidedHalves, GuidedTurns, ProjectedGuidance
from diffusion4k.sampling.image_to_image import with_parts
from diffusion4k.sampling.step_cache import Prediction, StepCache

if TYPE_CHECKING:
    from diffusion4k.sampling.request import SamplingSettings
    from diffusion4k.sampling.sampler import Sampler

__all__ = ["Denoising", "DenoisingTransformer", "denoising"]


class DenoisingTransformer(AroundTransformer):
    """The outermost module in the place of a transformer.

    Args:
        transformer, family, rows, columns: as in `AroundTransformer`.
        prediction: how whole predictions are asked for.
        halves: how guidance is made; None: there is no second prediction.
        cache: told which calls belong together; None: nothing is kept.
    """

    def __init__(
        self,
        transformer: nn.Module,
        family: Family,
        rows: int,
        columns: int,
        prediction: Prediction,
        halves: GuidedHalves | GuidedTurns | None = None,
        cache: StepCache | None = None,
    ) -> None:
        super().__init__(transformer, family, rows, columns)
        self._prediction, self._halves, self._cache = prediction, halves, cache

    def predict(self, call: SpatialCall) -> Tensor:
        """The prediction, or both halves of it, for the pipeline's formula."""
        if self._halves:
            return self._halves.predict(call, self._named)
        return self._named(call, torch.arange(len(call.latents)), "all")

    def _named(self, call: SpatialCall, samples: Tensor, name: str) -> Tensor:
        with self._cache.part(name) if self._cache else nullcontext():
            predicted: Tensor = self._prediction(call, samples)
        return predicted


@dataclass(frozen=True)
class Denoising:
    """What stands around the transformer while one image, or one stage of it, is denoised."""

    pipeline: Any
    """The family's stock pipeline."""
    family: Family
    prediction: Prediction
    halves: GuidedHalves | GuidedTurns | None
    cache: StepCache | None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to put around it."""
        return self.halves is not None or self.cache is not None

    def transformer(self, inner: nn.Module, rows: int, columns: int) -> DenoisingTransformer:
        """It around `inner`, for latents of so many rows and columns."""
        return DenoisingTransformer(
            inner, self.family, rows, columns, self.prediction, self.halves, self.cache
        )

    def pipeline_for(self, width: int, height: int) -> Any:
        """The pipeline with it, for an image of that size that is seen whole."""
        if not self.is_needed:
            return self.pipeline
        factor = self.family.factor
        around = self.transformer(self.pipeline.transformer, height // factor, width // factor)
        return with_parts(self.pipeline, self.family.pipeline_class, transformer=around)


@contextmanager
def denoising(
    sampler: "Sampler",
    settings: "SamplingSettings",
    pipeline: Any,
    family: Family,
    guidance: float,
    steps: int,
    schedule_steps: int,
) -> Iterator[Denoising]:
    """What the settings want around the transformer of `pipeline`; taken off at the end.

    Args:
        guidance: of this image or stage.
        steps: that are made of it, the last ones of `schedule_steps`.
    """
    option = CacheOption.of_settings(settings.cache)
    interval = settings.guidance_interval
    # Halves in batches that change would be strangers to what was kept of them.
    is_apart = sampler.placement.halves_apart or (option is not None and interval is not None)
    halves: GuidedHalves | GuidedTurns | None = None
    if is_guided(family.guidance_kind(sampler.folder), guidance):
        scale = family.guidance_weight(guidance)
        projected = ProjectedGuidance(scale) if settings.projected_guidance else None
        if family.guides_in_turn:
            if interval or projected or option:
                halves = GuidedTurns(scale, interval, projected)
        elif interval or projected or is_apart:
            halves = GuidedHalves(family.prompt_comes_first, interval, projected, is_apart)
    prediction, cache = Prediction(), None
    if option:
        ratios = None
        if option.kind == "mag":
            measured = torch.tensor(family.mag_ratios(sampler.folder))
            ratios = nearest_interp(measured, schedule_steps)[-steps:]
        cache = StepCache(option, prediction, pipeline.transformer, family, steps, ratios)
    try:
        yield Denoising(pipeline, family, prediction, halves, cache)
    finally:
        if cache:
            cache.take_off()
