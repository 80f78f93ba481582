"""`diffusion4k merge-lora`: merge a LoRA into the weights it was made for."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k merge-lora runs/pocket-lora/lora --model pocket --out merged
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("merge-lora", epilog=_EXAMPLES)(merge)


def merge(
    lora: Annotated[
        Path,
        typer.Argument(help="The LoRA: its folder, or a file of any layout.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="pocket (bundled), a folder in diffusers layout, or a hub id.")
    ] = "pocket",
    scale: Annotated[float, typer.Option(help="How strongly the LoRA counts.")] = 1.0,
) -> None:
    """Merge a LoRA into its base model: a pipeline folder that `generate` and diffusers load."""
    from diffusion4k.cli.early import check_generation
    from diffusion4k.sampling.options import SamplingOptions

    check_generation(model, SamplingOptions(), factor=None, loras=[lora], init=None)

    from diffusion4k.training.checkpoint.merge import merge_lora

    typer.echo(merge_lora(lora, model, out, scale=scale))
