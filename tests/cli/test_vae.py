"""The verb `vae train`: a recipe and overrides to a run, mistakes to one line."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from diffusion4k.cli import vae
from diffusion4k.errors import UsageError
from diffusion4k.training.autoencoder import loop
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe, load_autoencoder_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "pocket-vae-sc.yaml"

app = typer.Typer()
app.callback()(lambda: None)
vae.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["vae", "train", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[AutoencoderRecipe, dict[str, bool]]]:
    """Runs that were asked for; none is carried out."""
    runs: list[tuple[AutoencoderRecipe, dict[str, bool]]] = []

    def note(recipe: AutoencoderRecipe, **flags: bool) -> Path:
        runs.append((recipe, flags))
        return recipe.output / "vae"

    monkeypatch.setattr(loop, "train_autoencoder", note)
    return runs


def test_recipe_and_overrides_reach_the_run(
    started: list[tuple[AutoencoderRecipe, dict[str, bool]]],
) -> None:
    told = _run(RECIPE, "start=stride", "loss.wavelet=0.1", "--changed-inputs")
    assert started == [
        (
            load_autoencoder_recipe(RECIPE, ["start=stride", "loss.wavelet=0.1"]),
            {"skip_bad": False, "changed_inputs": True},
        )
    ]
    assert told.split() == ["runs/pocket-vae-sc/vae"]


def test_nothing_starts_with_a_wrong_recipe(
    started: list[tuple[AutoencoderRecipe, dict[str, bool]]],
) -> None:
    with pytest.raises(UsageError, match=r"stepps: unknown key \(did you mean steps\?\)"):
        _run(RECIPE, "stepps=7")
    assert not started


def test_the_help_shows_an_example() -> None:
    assert "diffusion4k vae train recipes/pocket-vae-sc.yaml" in _run("--help")
