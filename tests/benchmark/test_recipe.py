"""Recipes: the shipped ones can be read, wrong ones are refused in one line."""

from pathlib import Path

import pytest

from diffusion4k.benchmark.recipe import checked_recipe, load_benchmark_recipe
from diffusion4k.errors import UsageError

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("name", ["benchmark-4k.yaml", "pocket-benchmark.yaml"])
def test_shipped_recipes(name: str) -> None:
    recipe = load_benchmark_recipe(RECIPES / name, ["limit=2", "models=[{name: a, images: x}]"])
    assert recipe.limit == 2 and recipe.models[0].images == Path("x")
    assert len(load_benchmark_recipe(RECIPES / name).models) > 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "models: missing"),
        ({"models": []}, "models: found [], allowed 1 or more values"),
        ({"models": [{"name": "a"}]}, "models.0: give either `model` or `images`, a folder"),
        ({"models": [{"name": "a", "model": "m", "images": "i"}]}, "give either"),
        ({"models": [{"name": "a", "images": "i", "steps": 3}]}, "steps: of a model"),
        (
            {"models": [{"name": "../a", "model": "m"}]},
            "models.0.name: found '../a', allowed a name",
        ),
        ({"models": [{"name": "..", "model": "m"}]}, "models.0.name"),
        ({"models": [{"name": "a", "model": "m", "step": 3}]}, "did you mean models.0.steps"),
        ({"models": [{"name": n, "model": "m"} for n in ("a", "A")]}, "the name a is given twice"),
        (
            {"models": [{"name": "a", "model": "m"}], "crop": "half"},
            "crop: found 'half', allowed 'common', or a",
        ),
        ({"models": [{"name": "a", "model": "m"}], "seeds": []}, "seeds"),
        ({"models": [{"name": "a", "model": "m", "stages": [0]}]}, "models.0.stages.0: found 0"),
        (
            {"models": [{"name": "a", "model": "m", "stage_options": {"strenth": 0.4}}]},
            "models.0.stage_options.strenth: unknown key",
        ),
        ({"models": [{"name": "a", "model": "m"}], "limit": 0}, "limit"),
        ({"models": [{"name": "a", "model": "m"}], "networks": {"clipp": "x"}}, "networks.clip"),
    ],
)
def test_wrong_recipes(values: dict, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked_recipe(values)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_wrong_entry_is_told_once() -> None:
    for entry in ({"name": "a"}, {"name": "a", "model": ""}):
        with pytest.raises(UsageError) as raised:
            checked_recipe({"models": [entry]})
        assert str(raised.value).count("models") == 1 and ";" not in str(raised.value)


def test_a_side_stands_for_a_square() -> None:
    entry = {"name": "a", "model": "m"}
    assert checked_recipe({"models": [entry], "crop": 512}).crop == (512, 512)
    assert checked_recipe({"models": [entry], "crop": [640, 352]}).crop == (640, 352)
    assert checked_recipe({"models": [entry], "crop": "common"}).crop == "common"
