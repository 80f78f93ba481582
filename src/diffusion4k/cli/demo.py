"""`diffusion4k demo`: everything in one command."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k demo

diffusion4k demo --side 512 --training-steps 5 --out quick
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    model: Annotated[
        str,
        typer.Option(help="pocket-base (bundled), a folder in diffusers layout, or a hub id."),
    ] = "pocket-base",
    side: Annotated[int, typer.Option(help="Side of the square images, a multiple of 128.")] = 4096,
    sampling_steps: Annotated[
        int | None, typer.Option(help="Sampling steps; by default the model's own.", min=1)
    ] = None,
    training_steps: Annotated[
        int | None, typer.Option(help="Training steps; by default 120.", min=2)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of training and sampling.", min=0)] = 0,
) -> None:
    """Go from photographs to measured 4K images: check, cache, fine-tune, sample, report.

    Seven to nine minutes on two CPU cores, without any download. A run that was
    stopped continues where it was. Prints a table and, on standard output, the
    report's path.
    """
    from diffusion4k.demo.settings import Demo
    from diffusion4k.families import resolve

    asked = Demo(out, model, side, sampling_steps, training_steps, seed)
    resolve(model)

    from diffusion4k.demo.report import show
    from diffusion4k.demo.run import run_demo

    report, result = run_demo(asked)
    show(result.rows)
    typer.echo(report)
