"""`diffusion4k figure side-by-side`."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.figure import pairs
from diffusion4k.cli.figure.options import Images, Match, Most, Out, Patches, Width

__all__ = ["EXAMPLE", "side_by_side"]

EXAMPLE = """Examples:

  diffusion4k figure side-by-side images photographs --out side-by-side.png

  diffusion4k figure side-by-side PixArt=images ours=photographs --patch 0,0,64 --patch 96,96,64
"""


def side_by_side(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Two to six folders of images, each FOLDER or NAME=FOLDER; ours last.",
            metavar="[NAME=]FOLDER...",
            show_default=False,
        ),
    ],
    patch: Patches = None,
    image: Images = None,
    match: Match = "auto",
    most: Most = 4,
    width: Width = 2400,
    out: Out = Path("side-by-side.png"),
) -> None:
    """Images of the same prompts, with the same regions marked and enlarged (Fig. 7 and 8)."""
    pairs.draw(folders, patch or [], image or [], match=match, most=most, width=width, out=out)
