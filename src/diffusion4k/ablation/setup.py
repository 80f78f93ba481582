"""What all runs of a study stand on, made once: the cache, the prompts, the photographs."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from diffusion4k.ablation.arms import base_recipe
from diffusion4k.ablation.photographs import as_trained, through_autoencoder
from diffusion4k.ablation.recipe import AblationRecipe
from diffusion4k.benchmark.prompts import PromptSet, read_prompt_set
from diffusion4k.data.cache import LatentCache
from diffusion4k.errors import UsageError
from diffusion4k.families import family_of, resolve
from diffusion4k.metrics.measure import Column, Distance, Measure, Unavailable
from diffusion4k.metrics.selection import measures_for
from diffusion4k.metrics.settings import MeasureSettings
from diffusion4k.metrics.store import MeasureStore
from diffusion4k.sampling.fingerprint import fingerprint
from diffusion4k.support.lock import wait_for
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.pictures import complete_cache
from diffusion4k.training.recipe.recipe import Recipe

__all__ = ["StudySetup", "prepare"]


@dataclass
class StudySetup:
    """The study, and what its runs share."""

    study: AblationRecipe
    recipe: Recipe
    prompts: PromptSet
    cache: LatentCache
    velocity_cache: LatentCache
    """Latents of the pictures on which the velocity's error is measured."""
    photographs: list[Path]
    """Photographs as training sees them; none without a reference."""
    decoded: list[Path]
    """The same photographs, encoded and decoded."""
    device: torch.device
    notes: list[str] = field(default_factory=list)

    @cached_property
    def checksum(self) -> str:
        """The checksum of the cache."""
        return self.cache.checksum()

    @cached_property
    def model(self) -> str:
        """Names the content of the model that runs start from."""
        return fingerprint(resolve(self.recipe.model))

    def require_cache(self) -> None:
        """See that the cache still is what it was: a run reads it again.

        Raises:
            UsageError: another study or `diffusion4k cache` has put other pictures there.
        """
        if LatentCache(self.cache.path).checksum() != self.checksum:
            raise UsageError(
                f"{self.cache.path}: has different pictures than when this study began: undo "
                "what changed them, or choose another output"
            )

    @cached_property
    def store(self) -> MeasureStore:
        """Findings of all pictures."""
        return MeasureStore(self.study.output / "measured")

    @cached_property
    def _measures(self) -> tuple[list[Measure], list[Unavailable]]:
        settings = MeasureSettings(False, self.study.patch_size, self.study.patches_per_image)
        networks, device = self.study.networks, str(self.device)
        # Without photographs the distances stay: those of earlier looks are kept with them.
        return measures_for(settings, networks, device, has_reference=True)

    @property
    def measures(self) -> list[Measure]:
        """Measures that can be made here, of pictures without an original."""
        return self._measures[0]

    @property
    def missing(self) -> list[Unavailable]:
        """What cannot be made, and why."""
        return self._measures[1]

    @property
    def columns(self) -> list[Column]:
        """Columns of all measures; distances only where there are photographs."""
        every = [column for measure in self.measures for column in measure.columns]
        return [c for c in every if self.photographs or not isinstance(c, Distance)]


def prepare(study: AblationRecipe, *, skip_bad: bool = False) -> StudySetup:
    """Complete what the runs share; other processes wait for the first.

    Raises:
        UsageError, Diffusion4kError: model, photographs, cache or prompts that cannot be used.
    """
    recipe = base_recipe(study)
    model = resolve(recipe.model)
    family = family_of(model, **recipe.model_options)
    prompts = read_prompt_set(study.prompts, study.limit, skip_bad=skip_bad)
    engine = Engine("auto")
    with wait_for(study.output / ".prepare", "another process prepares the study"):
        cache = complete_cache(recipe, family, model, engine, skip_bad=skip_bad)
        velocity_cache = cache
        if study.velocity.data:
            folder = study.output / "velocity-cache"
            own = {"data": study.velocity.data, "cache": folder, "flip": False}
            held_out = recipe.model_copy(update=own)
            velocity_cache = complete_cache(held_out, family, model, engine, skip_bad=skip_bad)
        photographs, notes = as_trained(study, recipe, prompts, skip_bad=skip_bad)
        decoded = through_autoencoder(photographs, family, model, engine.device)
    assert isinstance(cache, LatentCache) and isinstance(velocity_cache, LatentCache)
    return StudySetup(
        study, recipe, prompts, cache, velocity_cache, photographs, decoded, engine.device, notes
    )
