"""`diffusion4k compare`: a static page that shows images of several models side by side."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

EPILOG = """Examples:

  diffusion4k compare images pocket --out comparison

  diffusion4k compare before=images after=runs/images --match prompt --results before=results.json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=EPILOG)(compare)


def compare(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Two to six folders of images, each FOLDER or NAME=FOLDER; pocket: "
            "the bundled photographs.",
            metavar="[NAME=]FOLDER...",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("comparison"),
    match: Annotated[
        str,
        typer.Option(help="What images of one row share: name, prompt (and seed), or auto."),
    ] = "auto",
    results: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: a model's numbers as `evaluate --out` writes them; several times. "
            "By default GLCM Score and Compression Ratio are measured."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Comparison",
    small: Annotated[
        bool,
        typer.Option("--small", help="At 100% JPEG of quality 95 instead of the exact pixels."),
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave the cells of broken images empty.")
    ] = False,
) -> None:
    """Write a web page that compares the images of two to six models, down to the pixel.

    It needs no server: open its index.html. The same command continues where a stopped one was.
    """
    from diffusion4k.errors import UsageError

    if match not in ("auto", "name", "prompt"):
        raise UsageError(f"--match {match}: allowed auto, name or prompt")

    from diffusion4k.imagesets.models import named_folders

    named_folders(folders, 2, 6)

    from diffusion4k.compare.build import compare as run

    made = run(
        folders,
        out,
        match=match,  # type: ignore[arg-type]
        results=results or [],
        title=title,
        small=small,
        skip_bad=skip_bad,
    )
    for line in made.missing:
        typer.echo(f"missing: {line}", err=True)
    for line in made.skipped:
        typer.echo(f"skipped: {line}", err=True)
    typer.echo(made.page)
