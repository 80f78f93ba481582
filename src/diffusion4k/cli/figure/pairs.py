"""What `side-by-side` and `ablation` have in common."""

from collections.abc import Sequence
from pathlib import Path

import typer

from diffusion4k.cli.figure.options import say_left_out

__all__ = ["draw"]


def draw(
    folders: Sequence[str],
    patches: Sequence[str],
    images: Sequence[str],
    *,
    match: str,
    most: int,
    width: int,
    out: Path,
) -> None:
    """Match the folders' images and write the figure."""
    from diffusion4k.errors import UsageError
    from diffusion4k.imagesets.models import named_folders, read_models

    named_folders(folders, 2, 6)

    from diffusion4k.benchmark.figures.canvas import check_output, save_figure
    from diffusion4k.benchmark.figures.side_by_side import (
        complete,
        draw_side_by_side,
        parse_patch,
    )
    from diffusion4k.imagesets.match import match_images

    if match not in ("auto", "name", "prompt"):
        raise UsageError(f"--match {match}: allowed auto, name or prompt")
    check_output(out, width)
    chosen = [parse_patch(patch) for patch in patches]
    models = read_models(folders, 2, 6)
    rows = match_images(models, match)  # type: ignore[arg-type]
    named = {row.first.name: row for row in rows}
    for name in images:
        if name not in named:
            raise UsageError(f"--image {name}: no such image in {models[0].folder}")
    found = complete([named[name] for name in images] if images else rows)
    rows = found[:most]
    figure = draw_side_by_side(rows, [m.name for m in models], patches=chosen, width=width)
    save_figure(figure, out)
    typer.echo(out)
    say_left_out(len(rows), len(found), "prompt")
