"""`diffusion4k export`: weights in the layout of other programs, and back."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k export runs/mine/model mine.safetensors --dtype bf16

diffusion4k export mine.safetensors mine-folder --base pocket

diffusion4k export pocket vae.safetensors --part vae
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(export)


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="pocket (bundled), a model folder, a hub id, or a .safetensors file.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(help="NAME.safetensors, or a new folder for shards.", show_default=False),
    ],
    part: Annotated[
        Literal["transformer", "vae"], typer.Option(help="What is written.")
    ] = "transformer",
    layout: Annotated[
        Literal["original", "diffusers"] | None,
        typer.Option(
            help="Names of layers: their makers' (a file's default) or diffusers' (a folder's)."
        ),
    ] = None,
    dtype: Annotated[
        Literal["fp32", "bf16", "fp16", "fp8"] | None,
        typer.Option(help="Type of the weights; by default as they are."),
    ] = None,
    prefix: Annotated[
        bool | None,
        typer.Option(
            "--prefix/--no-prefix",
            help="Whether names begin as in a whole checkpoint (model.diffusion_model.).",
        ),
    ] = None,
    shard_size: Annotated[
        str, typer.Option(help="Size of each file in a folder, e.g. 5GiB.")
    ] = "5GiB",
    base: Annotated[
        str | None,
        typer.Option(help="For a file: a model of the same sizes, which has the other parts."),
    ] = None,
) -> None:
    """Write a transformer or an autoencoder as other programs have it, or bring it back.

    A file has the layout of ComfyUI's models: the names that Black Forest Labs
    or Stability AI gave, attention in one matrix. A folder has diffusers'.
    """
    from diffusion4k.interchange.export import export_part
    from diffusion4k.vae import parse_memory

    typer.echo(
        export_part(
            model,
            out,
            part=part,
            layout=layout,
            dtype=dtype,
            prefix=prefix,
            shard_size=parse_memory(shard_size, "shard-size"),
            base=base,
        )
    )
