"""Training on the device: real optimizer steps on random pictures, and the pocket's whole loop."""

import statistics
from typing import Any

import torch

from benchmarks.gpu.models import RandomModel, drawn_like
from benchmarks.gpu.setting import Setting, measured
from diffusion4k.data.loader import Batch
from diffusion4k.lora import add_adapter
from diffusion4k.training.check import check_recipe
from diffusion4k.training.engine.engine import Engine
from diffusion4k.training.engine.network import prepared
from diffusion4k.training.engine.optimizers import make_optimizer
from diffusion4k.training.loop import take_step, train
from diffusion4k.training.method import build_method
from diffusion4k.training.recipe.build import adapter_options, chosen_engine, computes_in_bf16
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.run import TrainingRun
from diffusion4k.training.watch.bands import LossBySigma
from diffusion4k.training.watch.step_guard import Guard

__all__ = ["pocket_training", "recipe_of", "training_steps"]


def recipe_of(setting: Setting, name: str, **keys: Any) -> Recipe:
    """A recipe of the model at the check's size, one picture a step."""
    least = {
        "model": name,
        "data": "pocket",
        "output": setting.folder / "run",
        "resolution": setting.side,
        "crop": setting.side,
        "steps": 3,
        "gradient_checkpointing": True,
        "validation": {"every": None},
    }
    return Recipe.model_validate(least | keys)


def training_steps(setting: Setting, name: str, **keys: Any) -> dict[str, Any]:
    """Three optimizer steps; their seconds (the median but for the first) and most memory."""
    with RandomModel(name, setting) as model:
        recipe = recipe_of(setting, str(model.folder), **keys)
        check_recipe(recipe, model.family, model.folder)
        engine = Engine(chosen_engine(recipe), offload=recipe.offload)
        run = _run(recipe, engine, model)
        steps = [
            measured(engine.device, lambda step=step: take_step(run, step))
            for step in range(recipe.steps)
        ]
    _, *others = [step["seconds"] for step in steps]
    found = {
        "engine": engine.name,
        "first_step_seconds": steps[0]["seconds"],
        "step_seconds": statistics.median(others),
        "trained_parameters": sum(
            p.numel() for p in run.transformer.parameters() if p.requires_grad
        ),
    }
    peaks = [step["peak_gib"] for step in steps if "peak_gib" in step]
    return found | ({"peak_gib": max(peaks)} if peaks else {})


def pocket_training(setting: Setting) -> dict[str, Any]:
    """The pocket model's training from photographs to a model that makes images."""
    from diffusion4k.sampling import Request, Sampler

    side, steps = (64, 2) if setting.tiny else (512, 20)
    recipe = recipe_of(
        setting,
        "pocket",
        resolution=side,
        crop=side,
        steps=steps,
        batch_size=2,
        checkpoint={"every": steps // 2},
    )
    result: list[Any] = []
    found = measured(setting.device, lambda: result.append(train(recipe)))
    sampler = Sampler(result[0], device=setting.device)
    picture = sampler.sample(
        sampler.settle(Request("a lake", width=side, height=side, steps=2, stages=()))
    )
    return found | {"steps": steps, "picture": list(picture.size)}


class RandomBatches:
    """Stands in for a cache."""

    def __init__(self, recipe: Recipe, model: RandomModel) -> None:
        self._recipe, self._model = recipe, model
        width, height = recipe.crop_size
        factor, channels = model.family.factor, model.blueprint.latent_channels
        self._shape = recipe.batch_size, channels, height // factor, width // factor

    def batch(self, step: int, micro: int = 0, rank: int = 0, world: int = 1) -> Batch:
        """As of `LatentBatches`."""
        cpu, count = torch.device("cpu"), self._recipe.batch_size
        empty = self._model.family.empty_conditioning(self._model.folder, count)
        return {
            "latents": torch.randn(self._shape),
            "drafts": None,
            "conditioning": {k: drawn_like(v, cpu, torch.float32) for k, v in empty.items()},
            "indices": torch.arange(count),
            "places": torch.arange(count) + step * count,
        }


def _run(recipe: Recipe, engine: Engine, model: RandomModel) -> TrainingRun:
    """As `training.run.set_up` has it, but for where weights and pictures come from."""
    in_bf16 = computes_in_bf16(recipe, engine.device)

    def load() -> Any:
        if recipe.lora is None:
            network: Any = model.transformer(torch.float32).requires_grad_(True)
        else:
            dtype = torch.bfloat16 if in_bf16 else torch.float32
            network = model.transformer(dtype, recipe.lora.weights).requires_grad_(False)
            add_adapter(network, **adapter_options(recipe.lora, model.family), seed=0)
        for name in model.family.unseen_layers(network):
            network.get_submodule(name).requires_grad_(False)
        return prepared(network, recipe)

    transformer = engine.place(load, bfloat16=in_bf16)
    batches: Any = RandomBatches(recipe, model)
    return TrainingRun(
        recipe=recipe,
        engine=engine,
        model=model.folder,
        method=build_method(recipe, model.family, model.folder, engine.device),
        batches=batches,
        transformer=transformer,
        network=engine.spread(transformer),
        optimizer=engine.share_out(make_optimizer(recipe.optimizer, transformer)),
        average=None,
        guard=Guard(recipe.guard),
        bands=LossBySigma(),
    )
