"""`diffusion4k vae`: the F=16 autoencoder."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

_TRAIN = """Examples:

diffusion4k vae train recipes/pocket-vae-sc.yaml

diffusion4k vae train recipes/pocket-vae-sc.yaml start=stride output=runs/stride
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Train the F=16 autoencoder.")
    group.command(epilog=_TRAIN)(train)
    app.add_typer(group, name="vae")


def train(
    recipe: Annotated[Path, typer.Argument(help="The run as a YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Keys of the recipe with other values, for example loss.wavelet=0.1.",
            metavar="[KEY=VALUE]...",
            show_default=False,
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out photographs that cannot be read or are too small."
        ),
    ] = False,
) -> None:
    """Train an F=16 autoencoder from a model's F=8 one, by a recipe.

    The same command goes on from the newest checkpoint of a run that was stopped or killed. The
    result, OUTPUT/vae, is an autoencoder folder in diffusers layout.
    """
    from diffusion4k.training.autoencoder.recipe import load_autoencoder_recipe

    checked = load_autoencoder_recipe(recipe, overrides)

    from diffusion4k.training.autoencoder.loop import train_autoencoder

    typer.echo(train_autoencoder(checked, skip_bad=skip_bad))
