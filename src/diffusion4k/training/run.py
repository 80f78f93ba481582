"""What a run has: the recipe's parts, each made once and handed on."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import nn

from diffusion4k.data.loader import LatentBatches
from diffusion4k.families import Family
from diffusion4k.training.engine.ema import WeightAverage
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.engine.network import load_network
from diffusion4k.training.engine.optimizers import make_optimizer
from diffusion4k.training.engine.zero import ZeroOptimizer
from diffusion4k.training.method import Method
from diffusion4k.training.recipe.build import computes_in_bf16
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.bands import LossBySigma
from diffusion4k.training.watch.step_guard import Guard

__all__ = ["TrainingRun", "set_up"]


@dataclass
class TrainingRun:
    """The parts of a run.

    Attributes:
        recipe: for the numbers in it, as those of steps; no part of a run is made from it again.
        transformer: what is trained, and `network` what is called in its place.
        average: of the trained weights, if the recipe asks for it.
        guard, bands: what they saw of the steps so far belongs to a checkpoint.
    """

    recipe: Recipe
    engine: Engine
    model: Path
    method: Method
    batches: LatentBatches
    transformer: ModelMixin
    network: nn.Module
    optimizer: torch.optim.Optimizer | ZeroOptimizer
    average: WeightAverage | None
    guard: Guard
    bands: LossBySigma

    @property
    def pictures_per_step(self) -> int:
        """Pictures of a step in all processes together."""
        recipe = self.recipe
        return recipe.batch_size * recipe.gradient_accumulation * self.engine.data_world

    def averaged(self) -> AbstractContextManager[None]:
        """In the block the transformer has the averaged weights, if there are such."""
        return self.average.applied_to(self.transformer) if self.average else nullcontext()

    def whole(self) -> ModelMixin:
        """The transformer with whole weights; of use in the first process alone."""
        if not self.engine.is_sharded:
            return self.transformer
        state = self.engine.whole_state(self.transformer)
        if not self.engine.is_main:
            return self.transformer
        whole = load_network(self.recipe, self.method.family, self.model, torch.device("cpu"))
        whole.load_state_dict(state)
        return whole


def set_up(
    recipe: Recipe,
    engine: Engine,
    family: Family,
    model: Path,
    method: Method,
    batches: LatentBatches,
) -> TrainingRun:
    """Load the network and what trains it, spread over the engine's processes."""
    transformer = engine.place(
        lambda: load_network(recipe, family, model, engine.device),
        bfloat16=computes_in_bf16(recipe, engine.device),
    )
    return TrainingRun(
        recipe=recipe,
        engine=engine,
        model=model,
        method=method,
        batches=batches,
        transformer=transformer,
        network=engine.spread(transformer),
        optimizer=engine.share_out(make_optimizer(recipe.optimizer, transformer)),
        average=WeightAverage(transformer, recipe.ema) if recipe.ema else None,
        guard=Guard(recipe.guard),
        bands=LossBySigma(),
    )
