"""`diffusion4k figure gallery`."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.figure.options import Folder, Images, Out, Width, entries_of, say_left_out

__all__ = ["EXAMPLE", "gallery"]

EXAMPLE = """Example:

  diffusion4k figure gallery pocket --columns 2 --out gallery.jpg
"""


def gallery(
    folder: Folder,
    image: Images = None,
    most: Annotated[int, typer.Option(help="Largest number of images.", min=1)] = 12,
    columns: Annotated[int, typer.Option(help="Images in a line.", min=1)] = 3,
    width: Width = 2400,
    out: Out = Path("gallery.png"),
) -> None:
    """Images with their prompts below (Fig. 10)."""
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.gallery import draw_gallery

    check_output(out, width)
    found = entries_of(folder, image)
    entries = found[:most]
    save_figure(draw_gallery(entries, columns=columns, width=width), out)
    typer.echo(out)
    say_left_out(len(entries), len(found), "image")
