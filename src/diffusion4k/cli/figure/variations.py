"""`diffusion4k figure variations`."""

from pathlib import Path

import typer

from diffusion4k.cli.figure.options import (
    Folder,
    Images,
    Most,
    Out,
    Width,
    entries_of,
    say_left_out,
)

__all__ = ["EXAMPLE", "variations"]

EXAMPLE = """Example:

  diffusion4k generate "a corgi" --seed 0 --seed 1 --width 256 --height 256 --out corgis

  diffusion4k figure variations corgis --out variations.png
"""


def variations(
    folder: Folder,
    image: Images = None,
    most: Most = 4,
    width: Width = 2400,
    out: Out = Path("variations.png"),
) -> None:
    """Images of one prompt in several aspect ratios and seeds, a line for each prompt (Fig. 11)."""
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.variations import draw_variations, variations_of

    check_output(out, width)
    found = variations_of(entries_of(folder, image))
    groups = found[:most]
    save_figure(draw_variations(groups, width=width), out)
    typer.echo(out)
    say_left_out(len(groups), len(found), "prompt")
