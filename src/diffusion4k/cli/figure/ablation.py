"""`diffusion4k figure ablation`."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.figure import pairs
from diffusion4k.cli.figure.options import Images, Match, Most, Out, Patches, Width

__all__ = ["EXAMPLE", "ablation"]

EXAMPLE = """Example:

  diffusion4k figure ablation images photographs --out ablation.pdf
"""


def ablation(
    without: Annotated[Path, typer.Argument(help="Images made without it.", show_default=False)],
    with_: Annotated[
        Path, typer.Argument(metavar="WITH", help="Images made with it.", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="Name of what is left out.")] = "WLF",
    patch: Patches = None,
    image: Images = None,
    match: Match = "auto",
    most: Most = 4,
    width: Width = 2400,
    out: Out = Path("ablation.png"),
) -> None:
    """Images made without and with wavelet-based fine-tuning, patches enlarged (Fig. 9)."""
    folders = [f"without {name}={without}", f"with {name}={with_}"]
    pairs.draw(folders, patch or [], image or [], match=match, most=most, width=width, out=out)
