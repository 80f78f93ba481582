"""Options that several figures share, and the images they ask for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from diffusion4k.imagesets.models import ImageSetEntry

__all__ = [
    "Folder",
    "Images",
    "Match",
    "Most",
    "Out",
    "Patches",
    "Width",
    "entries_of",
    "say_left_out",
]

Folder: TypeAlias = Annotated[
    Path, typer.Argument(help="Folder of images; pocket: the bundled ones.", show_default=False)
]
Images: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--image", help="File name without its ending; several times. By default all."),
]
Match: TypeAlias = Annotated[
    str, typer.Option(help="What images of one row share: name, prompt (and seed), or auto.")
]
Most: TypeAlias = Annotated[int, typer.Option(help="Largest number of prompts.", min=1)]
Out: TypeAlias = Annotated[Path, typer.Option(help="A .png, .jpg or .pdf file.")]
Patches: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--patch",
        help="X,Y,SIDE in pixels of the first folder's images; several times. By default the two "
        "regions with most detail.",
    ),
]
Width: TypeAlias = Annotated[int, typer.Option(help="Width of the figure, pixels.")]


def say_left_out(shown: int, there: int, what: str) -> None:
    """Report on standard error that a figure does not show everything."""
    if shown < there:
        typer.echo(f"{shown} of {counted(there, what)}; --most shows more", err=True)


def entries_of(folder: Path, images: Sequence[str] | None) -> "list[ImageSetEntry]":
    """The folder's images, or the named ones, in that order."""
    from diffusion4k.errors import UsageError
    from diffusion4k.imagesets.models import read_models

    entries = read_models([str(folder)], 1, 1)[0].entries
    named = {entry.name: entry for entry in entries}
    for name in images or ():
        if name not in named:
            raise UsageError(f"--image {name}: no such image in {folder}")
    return [named[name] for name in images] if images else entries
