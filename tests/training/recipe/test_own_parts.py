"""Objectives, parts and distributions of one's own, named in a recipe."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffusion4k.config.problems import describe_problems
from diffusion4k.errors import UsageError
from diffusion4k.families import family_of
from diffusion4k.objectives import FlowMatching
from diffusion4k.training.check import check_recipe
from diffusion4k.training.checkpoint.card import model_card
from diffusion4k.training.checkpoint.resume import changed_keys
from diffusion4k.training.inputs import inputs_of
from diffusion4k.training.recipe.build import build_objective, build_timesteps
from diffusion4k.training.recipe.own_parts import codes_of
from diffusion4k.training.recipe.recipe import Recipe

MODULE = '''
import torch


class Cubed:
    """The third power of the velocity's error."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, velocity, *, latents, noise, sigma):
        error = velocity - (noise - latents)
        return self.factor * error.abs().pow(3).mean(dim=(1, 2, 3))


def squared(velocity, *, latents, noise, sigma, scale=1.0):
    return scale * (velocity - (noise - latents)).square().mean(dim=(1, 2, 3))


def charbonnier(error, sigma, eps=1e-3):
    return (error.square() + eps**2).sqrt()


class Late:
    def sample(self, batch, generator=None, device=None):
        return 0.9 + 0.1 * torch.rand(batch, generator=generator).clamp(1e-3, 0.99)


class One:
    def sample(self, batch, generator=None, device=None):
        return torch.ones(batch)


def scalar(velocity, *, latents, noise, sigma):
    return (velocity - noise).square().mean()


def positional(prediction, target):
    return (prediction - target).square()


def detached(velocity, *, latents, noise, sigma):
    return velocity.detach().square().mean(dim=(1, 2, 3))


def number(velocity, *, latents, noise, sigma):
    return 7.0


constant = 7
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`own_parts.py` in the working folder, which is on no path."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own_parts.py"
    path.write_text(MODULE)
    importlib.invalidate_caches()
    yield path
    sys.modules.pop("own_parts", None)


@pytest.fixture
def recipe(tiny_model: Path, tmp_path: Path) -> Callable[..., Recipe]:
    def made(**keys: object) -> Recipe:
        given = {"model": str(tiny_model), "data": "pocket", "output": tmp_path / "run"}
        return Recipe.model_validate(given | {"resolution": 64, "steps": 2} | keys)

    return made


def questions() -> dict[str, Tensor]:
    torch.manual_seed(0)
    names = ("velocity", "latents", "noise")
    return {name: torch.randn(2, 4, 4, 4) for name in names} | {"sigma": torch.tensor([0.2, 0.7])}


def asked(recipe: Recipe) -> Tensor:
    given = questions()
    return build_objective(recipe)(given.pop("velocity"), **given)


def test_a_class_or_function_is_built_with_its_arguments(module: Path, recipe) -> None:
    given = questions()
    plain = FlowMatching()(given.pop("velocity"), **given)
    torch.testing.assert_close(asked(recipe(objective={"name": "own_parts:squared"})), plain)
    scaled = recipe(objective={"name": "own_parts:squared", "scale": 3})
    torch.testing.assert_close(asked(scaled), 3 * plain)
    once, twice = (
        asked(recipe(objective={"name": "own_parts:Cubed", "factor": n})) for n in (1, 2)
    )
    torch.testing.assert_close(twice, 2 * once)
    norm = {"name": "own_parts:charbonnier", "eps": 1e-6}
    robust = recipe(objective={"name": "composed", "norm": norm})
    absolute = recipe(objective={"name": "composed", "norm": {"name": "l1"}})
    torch.testing.assert_close(asked(robust), asked(absolute), atol=1e-4, rtol=1e-4)


def test_a_run_knows_its_own_code(module: Path, recipe, tiny_model: Path) -> None:
    first = recipe(
        objective={"name": "own_parts:Cubed", "factor": 2},
        timesteps={"distribution": "own_parts:Late"},
    )
    family = family_of(tiny_model)
    check_recipe(first, family, tiny_model)
    assert Recipe.model_validate(first.model_dump(mode="json")) == first
    sigma = build_timesteps(first, family, tiny_model).sample(9, torch.Generator().manual_seed(0))
    assert (sigma > 0.9).all()
    # A checkpoint notes it, and a changed class is another run.
    assert changed_keys(first, recipe(objective={"name": "own_parts:Cubed", "factor": 3})) == [
        "objective.factor (2 -> 3)",
        "timesteps.distribution (own_parts:Late -> logit-normal)",
        "timesteps.mean (None -> 0.0)",
        "timesteps.shift (None -> 1.0)",
        "timesteps.std (None -> 1.0)",
    ]
    noted = inputs_of(first, tiny_model)
    [digest] = set(noted.code.values())
    card = model_card(first, family, tiny_model, None)
    assert f"- `objective: own_parts:Cubed`, file {digest}" in card and "factor: 2" in card
    module.write_text(MODULE + "\n\nchanged = 1\n")
    assert noted.changes(noted.state(), 5) == []
    assert inputs_of(first, tiny_model).changes(noted.state(), 5) == [
        f"{key}: own_parts:{name}: its module has changed since step 5"
        for key, name in (("objective", "Cubed"), ("timesteps", "Late"))
    ]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            {"name": "no_such_module:Mine"},
            "put no_such_module.py into this folder or on PYTHONPATH",
        ),
        ({"name": "own_parts:Nothing"}, "own_parts:Nothing: cannot be loaded: .*Nothing"),
        ({"name": "own_parts:constant"}, "found int, allowed a class or function"),
        ({"name": "own_parts:Cubed", "power": 4}, r"refuses \{'power': 4\}: TypeError"),
        ({"name": "own_parts:positional"}, "fails on latents .*: TypeError: .*: see docs/obj"),
        ({"name": "own_parts:scalar"}, r"of shape \(\), allowed .* shape \(2,\), one loss a pic"),
        ({"name": "own_parts:number"}, "gives a float, allowed a tensor with one loss"),
        ({"name": "own_parts:detached"}, "fails on latents .* does not require grad"),
        (
            {"name": "composed", "weighting": {"name": "own_parts:positional"}},
            "objective: own_parts:positional: fails on latents",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value["name"]),
)
def test_what_cannot_be_meant_is_one_line(
    module: Path, recipe, tiny_model: Path, section: dict, told: str
) -> None:
    wanted = recipe(objective=section)
    with pytest.raises(UsageError, match=told) as refused:
        check_recipe(wanted, family_of(tiny_model), tiny_model)
    assert "\n" not in str(refused.value) and str(refused.value).startswith("objective: ")


def test_noise_levels_are_looked_at(module: Path, recipe, tiny_model: Path) -> None:
    wanted = recipe(timesteps={"distribution": "own_parts:One"})
    with pytest.raises(UsageError, match="timesteps: own_parts:One: drew noise levels from 1 to 1"):
        check_recipe(wanted, family_of(tiny_model), tiny_model)


def test_reading_a_recipe_runs_nothing(tmp_path: Path, monkeypatch, recipe) -> None:
    """A recipe in a checkpoint or a card is read, and no more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.py").write_text("raise SystemExit('ran')")
    wanted = recipe(objective={"name": "trap:Mine"}, timesteps={"distribution": "trap:Mine"})
    assert Recipe.model_validate(wanted.model_dump(mode="json")) == wanted
    assert "trap" not in sys.modules
    assert str(tmp_path) not in sys.path


def test_the_message_about_names_says_that_own_ones_go(recipe) -> None:
    from pydantic import ValidationError

    for section in ({"name": "charbonnier"}, {"name": "composed", "norm": {"name": "huber"}}):
        with pytest.raises(ValidationError) as refused:
            recipe(objective=section)
        told = describe_problems(refused.value, Recipe, {"objective": section})
        assert told.endswith("or `module:Class` of your own")
    assert codes_of(recipe()) == {}
