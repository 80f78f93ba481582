"""`diffusion4k dataset build`: from raw photographs to a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.kinds import of_this_kind
from diffusion4k.support.wording import counted

__all__ = ["EXAMPLE", "build"]

EXAMPLE = """Examples:

diffusion4k dataset build recipes/pocket-dataset.yaml

diffusion4k dataset build recipes/pocket-dataset.yaml header.min_shorter_side=1600 output=runs/small
"""


def build(
    recipe: Annotated[Path, typer.Argument(help="The dataset as a YAML file.", show_default=False)],
    overrides: Annotated[list[str] | None, key_values("recipe", "split.count=10")] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster to run on, HOST:PORT.", metavar="ADDRESS"),
    ] = None,
) -> None:
    """Build a curated image folder with train and eval splits from raw photographs.

    The same command continues after a build that was stopped or killed; with changed thresholds
    only what they let in is measured again. OUTPUT/manifest.parquet has every measured value,
    OUTPUT/dropped.csv the reason for every rejection.
    """
    from diffusion4k.curation.recipe import load_dataset_recipe

    with of_this_kind(recipe, "dataset build"):
        checked = load_dataset_recipe(recipe, overrides)

    from rich.console import Console

    from diffusion4k.curation.build import build_dataset
    from diffusion4k.curation.files import DROPPED

    summary = build_dataset(checked, ray=ray)
    Console().print(summary.table())
    if dropped := summary.candidates - summary.kept:
        typer.echo(
            f"{counted(dropped, 'candidate')} left out, each with its reason in "
            f"{checked.output / DROPPED}; `diffusion4k dataset inspect {checked.output} --all` "
            "shows them"
        )
    if missing := summary.without_caption:
        typer.echo(
            f"{missing} of {counted(summary.kept, 'picture')} without a caption, which "
            f"training needs: `diffusion4k dataset caption {checked.output}`, then build again",
            err=True,
        )
