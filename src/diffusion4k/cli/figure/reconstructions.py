"""`diffusion4k figure reconstructions`."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.figure.options import Images, Out, Width, entries_of, say_left_out

__all__ = ["EXAMPLE", "reconstructions"]

EXAMPLE = """Example:

  diffusion4k figure reconstructions pocket --vae pocket-f8 --vae pocket --out reconstructions.png
"""


def reconstructions(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of photographs, or pocket for the bundled ones.", show_default=False
        ),
    ],
    vae: Annotated[
        list[str] | None,
        typer.Option(help="As in `diffusion4k vae eval`; several times; by default pocket."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side, pixels, a multiple of 32.")] = 512,
    image: Images = None,
    most: Annotated[int, typer.Option(help="Largest number of photographs.", min=1)] = 4,
    width: Width = 1200,
    out: Out = Path("reconstructions.png"),
) -> None:
    """Photographs and their reconstructions, with regions and errors enlarged (Fig. 16)."""
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.data.sizes import check_multiple

    check_output(out, width)
    check_multiple("--size", size)
    found = entries_of(folder, image)
    paths = [entry.path for entry in found[:most]]

    from diffusion4k.benchmark.figures.reconstructions import draw_reconstructions
    from diffusion4k.reconstruction.evaluate import Autoencoder

    networks = [Autoencoder(name) for name in dict.fromkeys(vae or ["pocket"])]
    save_figure(draw_reconstructions(paths, networks, size=size, width=width), out)
    typer.echo(out)
    say_left_out(len(paths), len(found), "photograph")
