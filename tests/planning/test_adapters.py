"""Plans of adapters of each kind count what is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel

from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import Machine
from diffusion4k.families import family_of
from diffusion4k.lora import add_adapter, write_adapter
from diffusion4k.planning.disk import training_disk
from diffusion4k.training.recipe.build import adapter_options
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.step_cost import training_setup, training_stages

MACHINE = Machine(
    gpus=0, memory=1 << 40, ram=None, disk=None, bandwidth=1e9, flops=1e12, utilisation=0.4
)


@pytest.mark.parametrize("kind", ["lora", "dora", "lokr", "lora from two"])
def test_parameters_are_those_that_train(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    lora: dict[str, Any] = {"kind": kind.split()[0], "rank": 2, "rank_pattern": {"to_q": 5}}
    transformer = SD3Transformer2DModel.from_pretrained(tiny_model, subfolder="transformer")
    if "from" in kind:
        add_adapter(transformer, rank=3, alpha=3, targets=["to_v"], seed=0)
        with torch.no_grad():
            for parameter in transformer.parameters():
                parameter.add_(0.01)
        write_adapter(tmp_path, transformer, {"family": "sd3", "base_model": "tiny"})
        lora["start"] = [str(tmp_path), str(tmp_path)]
        transformer = SD3Transformer2DModel.from_pretrained(tiny_model, subfolder="transformer")
    recipe = Recipe(
        model=str(tiny_model),
        data=str(tmp_path),
        output=str(tmp_path / "out"),
        steps=1,
        resolution=64,
        lora=lora,
        report=False,
    )
    assert recipe.lora
    add_adapter(transformer, **adapter_options(recipe.lora, family_of(tiny_model)), seed=0)
    trained = sum(p.numel() for p in transformer.parameters() if p.requires_grad)
    blueprint = Blueprint(tiny_model)
    assert training_disk(blueprint, recipe, None)["result"] == 4 * trained
    setup = training_setup(recipe, MACHINE)
    step, _ = training_stages(blueprint, setup, gpu=False)
    assert step.parts["optimizer"] == 8 * trained
