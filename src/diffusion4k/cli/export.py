"""`diffusion4k export`: weights in the layout of other programs, and back."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffusion4k.errors import UsageError

__all__ = ["register"]

_EXAMPLES = """Examples:

diffusion4k export runs/mine/model mine.safetensors --dtype bf16

diffusion4k export mine.safetensors mine-folder --base pocket

diffusion4k export pocket vae.safetensors --part vae

diffusion4k export runs/pocket-lora/lora lora.safetensors --part lora --layout kohya
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=_EXAMPLES)(export)


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="pocket (bundled), a model folder, a hub id, or a .safetensors file; a LoRA.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(help="NAME.safetensors, or a new folder for shards.", show_default=False),
    ],
    part: Annotated[
        Literal["transformer", "vae", "lora"], typer.Option(help="What is written.")
    ] = "transformer",
    layout: Annotated[
        Literal["original", "diffusers", "comfyui", "kohya", "lycoris", "peft"] | None,
        typer.Option(
            help="Names of layers: their makers' (original; a file's default) or diffusers' (a "
            "folder's). Of a LoRA: comfyui (default), diffusers, kohya, lycoris, peft."
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
    """Write a transformer, an autoencoder or a LoRA as other programs have it, or bring it back.

    A file has the layout of ComfyUI's models: the names that Black Forest Labs
    or Stability AI gave, attention in one matrix. A folder has diffusers'.
    """
    if part == "lora":
        of_weights = {"--dtype": dtype, "--prefix": prefix, "--base": base}
        if given := [name for name, value in of_weights.items() if value is not None]:
            raise UsageError(f"{given[0]}: not of a LoRA, whose weights are written as they are")
        if layout == "original":
            raise UsageError("layout original: of a LoRA choose comfyui or kohya, which have it")
        from diffusion4k.cli.lora import convert

        convert(Path(model), out, layout or "comfyui")
        return
    if layout not in (None, "original", "diffusers"):
        raise UsageError(
            f"layout {layout}: that of a LoRA (--part lora): choose original, diffusers"
        )
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
