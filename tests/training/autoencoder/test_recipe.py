"""Recipes of autoencoders: the paper's numbers, and what is refused."""

from pathlib import Path

import pytest
import torch
import yaml

from diffusion4k.errors import UsageError
from diffusion4k.training.autoencoder.recipe import (
    AutoencoderRecipe,
    LossRecipe,
    LpipsRecipe,
    load_autoencoder_recipe,
    min_side,
)
from diffusion4k.vae.discriminator import PatchDiscriminator

RECIPES = Path(__file__).parents[3] / "recipes"
LEAST = {"model": "pocket", "data": "pocket", "output": "out", "steps": 10}


def _refusal(folder: Path, **keys: object) -> str:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**LEAST, **keys}))
    with pytest.raises(UsageError) as error:
        load_autoencoder_recipe(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_paper_recipe_has_the_paper_numbers() -> None:
    recipe = load_autoencoder_recipe(RECIPES / "vae-sc.yaml")
    expected = LossRecipe(mse=1, perceptual=0.1, adversarial=0.05, scale_consistency=1, wavelet=0)
    assert recipe.loss == expected
    assert recipe.optimizer.learning_rate == 1e-5 and recipe.crop == (512, 512)
    assert isinstance(recipe.perceptual, LpipsRecipe)
    defaults = AutoencoderRecipe.model_validate(LEAST)
    assert defaults.loss == expected and defaults.start == recipe.start == "average"
    assert defaults.optimizer.learning_rate == 1e-5 and defaults.crop == (512, 512)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*vae-sc.yaml")), ids=lambda path: path.name)
def test_all_recipes_load(path: Path) -> None:
    assert load_autoencoder_recipe(path, ["steps=1000"]).steps == 1000


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"stat": "average"}, "stat: unknown key (did you mean start?)"),
        ({"loss": {"lpips": 1}}, "loss.lpips: unknown key"),
        ({"loss": {"mse": -1}}, "loss.mse: found -1, allowed a number of at least 0"),
        ({"crop": 100}, "crop: found 100, allowed a multiple of 32 (nearest: 96 or 128)"),
        ({"resolution": 256}, "crop: found 512x512, allowed at most resolution=256"),
        ({"crop": 32, "adversarial": {"layers": 4}}, "adversarial.layers: found 4, which takes"),
        ({"loss": {"mse": 0, "perceptual": 0}}, "loss: found no weight above 0 among mse"),
        (
            {"adversarial": {"balance": "perceptual"}, "loss": {"perceptual": 0}},
            "adversarial.balance: found perceptual with loss.perceptual=0, allowed all",
        ),
        ({"perceptual": {"name": "lpips"}}, "perceptual.weights: missing"),
        ({"perceptual": {"name": "vgg"}}, "perceptual.name: found 'vgg', allowed"),
        ({"validation": {"prompts": []}}, "validation.prompts: unknown key"),
        ({"schedule": {"warmup_steps": 10}}, "schedule.warmup_steps: found 10, allowed less than"),
    ],
)
def test_refusals(tmp_path: Path, keys: dict[str, object], problem: str) -> None:
    assert problem in _refusal(tmp_path, **keys)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_crop_that_the_discriminator_takes(layers: int) -> None:
    network, side = PatchDiscriminator(channels=2, layers=layers).eval(), min_side(layers)
    assert network(torch.zeros(1, 3, side, side)).shape == (1, 1, 1, 1)
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 3, side - 1, side - 1))
