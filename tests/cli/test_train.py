"""The verb `train`: a recipe and overrides to a model, mistakes to one line."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from diffusion4k.accounting.machine import Machine
from diffusion4k.cli import train
from diffusion4k.errors import UsageError
from diffusion4k.planning import warning
from diffusion4k.training import loop
from diffusion4k.training.recipe.recipe import Recipe, load_recipe
from diffusion4k.training.watch import run_report

RECIPE = Path(__file__).parents[2] / "recipes" / "pocket-wlf.yaml"

app = typer.Typer()
app.callback()(lambda: None)
train.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["train", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, dict[str, bool]]]:
    """Runs that were asked for; none is carried out."""
    runs: list[tuple[Recipe, dict[str, bool]]] = []

    def note(recipe: Recipe, **flags: bool) -> Path:
        runs.append((recipe, flags))
        return recipe.output / "model"

    monkeypatch.setattr(loop, "train", note)
    monkeypatch.setattr(run_report, "write_run_report", lambda *_: None)
    return runs


def test_recipe_and_overrides_reach_the_run(started: list[tuple[Recipe, dict[str, bool]]]) -> None:
    told = _run(RECIPE, "steps=27", "optimizer.learning_rate=1e-4", "--skip-bad")
    assert started == [
        (
            load_recipe(RECIPE, ["steps=27", "optimizer.learning_rate=1e-4"]),
            {"skip_bad": True, "changed_inputs": False},
        ),
    ]
    assert told.split() == ["runs/pocket-wlf/model"]


def test_nothing_starts_with_a_wrong_recipe(started: list[tuple[Recipe, dict[str, bool]]]) -> None:
    with pytest.raises(UsageError, match=r"stepps: unknown key \(did you mean steps\?\)"):
        _run(RECIPE, "stepps=7")
    assert not started


def test_the_help_shows_an_example() -> None:
    assert "diffusion4k train recipes/pocket-wlf.yaml" in _run("--help")


def test_too_little_memory_is_told_before_the_start(
    started: list[tuple[Recipe, dict[str, bool]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (RECIPE, "crop=256", "batch_size=2")
    assert "warning" not in _errors(*arguments)
    monkeypatch.setattr(warning, "present_machine", lambda **_: Machine(0, 2**20, 0, 0, 1, 1, 1))
    told = _errors(*arguments)
    assert told.startswith("warning: does not fit") and told.count("warning") == 1
    assert len(started) == 2


def _errors(*arguments: object) -> str:
    return CliRunner().invoke(app, ["train", *map(str, arguments)]).stderr
