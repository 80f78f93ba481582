"""`diffusion4k dataset`: looking at image folders."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.dataset import build

__all__ = ["register"]

_EXAMPLE = """Example:

diffusion4k dataset check pocket
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Look at an image folder.", epilog=_EXAMPLE)
    group.command(epilog=_EXAMPLE)(check)
    group.command(epilog=build.EXAMPLE)(build.build)
    app.add_typer(group, name="dataset")


def check(
    folder: Annotated[
        Path, typer.Argument(help="An image folder with metadata.jsonl, or pocket (bundled).")
    ],
) -> None:
    """Decode every photograph, count and measure, list all problems.

    Leaves with 1 if there is any problem.
    """
    from diffusion4k.data.check import check_folder
    from diffusion4k.data.folder import photo_folder

    report = check_folder(photo_folder(folder))
    for line in report.lines():
        typer.echo(line)
    raise typer.Exit(1 if report.problems else 0)
