"""`diffusion4k figure text`."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.figure.options import Folder, Images, Out, Width, entries_of, say_left_out
from diffusion4k.support.wording import counted

__all__ = ["EXAMPLE", "text"]

EXAMPLE = """Example:

  diffusion4k generate 'a sign that says "open"' --width 256 --height 256 --out signs

  diffusion4k figure text signs --out text.png
"""


def text(
    folder: Folder,
    image: Images = None,
    most: Annotated[int, typer.Option(help="Largest number of images.", min=1)] = 12,
    columns: Annotated[int, typer.Option(help="Images in a line.", min=1)] = 3,
    width: Width = 2400,
    out: Out = Path("text.png"),
) -> None:
    """Images whose prompts ask for text in quotation marks, and what can be read (Fig. 12).

    With Tesseract or EasyOCR installed the share of correct characters and words is reported.
    """
    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.spelled_text import (
        draw_spelled_text,
        find_reader,
        read_entries,
        with_text,
    )

    check_output(out, width)
    found = with_text(entries_of(folder, image))
    entries = found[:most]
    reader = find_reader()
    readings = []
    if isinstance(reader, str):
        typer.echo(reader, err=True)
    else:
        readings = read_entries(entries, reader)
        for name in ("characters", "words"):
            mean = sum(getattr(reading, name) for reading in readings) / len(readings)
            typer.echo(f"{name} right: {mean:.1%} (mean of {counted(len(readings), 'image')})")
    save_figure(draw_spelled_text(entries, readings, columns=columns, width=width), out)
    typer.echo(out)
    say_left_out(len(entries), len(found), "image")
