"""`diffusion4k lora`: look at a LoRA's file, and convert it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diffusion4k.interchange.inspect import Summary

__all__ = ["register"]

_INSPECT = """Examples:

diffusion4k lora inspect runs/pocket-lora/lora

diffusion4k lora inspect style.safetensors --figure style.png
"""
_CONVERT = """Examples:

diffusion4k lora convert runs/pocket-lora/lora lora-comfyui.safetensors --layout comfyui

diffusion4k lora convert style.safetensors style-diffusers.safetensors --layout diffusers
"""

_File = Annotated[
    Path,
    typer.Argument(help="The LoRA: a .safetensors file or its folder.", show_default=False),
]
_BAR = 24


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Look at a LoRA's file, and convert it.")
    group.command(epilog=_INSPECT)(inspect)
    group.command(epilog=_CONVERT)(convert)
    app.add_typer(group, name="lora")


def inspect(
    file: _File,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the norm of each block's change as a .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a LoRA's file holds, without any model.

    Whose layout it is, which family and size it was made for, ranks and
    alphas, how strongly it changes each block, trigger words, what would not
    be loaded and why, and the command that converts it.
    """
    from diffusion4k.interchange.inspect import inspect as look_at
    from diffusion4k.interchange.norm_figure import check_figure, write_norms

    if figure:
        check_figure(figure)
    summary = look_at(file)
    if as_json:
        import json

        typer.echo(json.dumps(summary.as_json(), indent=2))
    else:
        _print(summary)
    if figure:
        typer.echo(write_norms(summary.norms, figure, f"{summary.path.name}: change by block"))


def convert(
    file: _File,
    out: Annotated[
        Path,
        typer.Argument(
            help="The .safetensors file to write, for peft a folder; must not exist.",
            show_default=False,
        ),
    ],
    layout: Annotated[str, typer.Option(help="comfyui, diffusers, kohya, lycoris or peft.")],
    family: Annotated[
        str | None, typer.Option(help="Whose layers they are, where the file leaves it open.")
    ] = None,
) -> None:
    """Write a LoRA in the layout of other programs, and prove that it changes the same weights."""
    from diffusion4k.interchange.convert import convert as written
    from diffusion4k.support.progress import track

    conversion = written(
        file,
        out,
        layout,
        family=family,
        each=lambda proofs, total: track(proofs, total, "proving"),
    )
    for proof in conversion.proofs:
        typer.echo(f"{proof.module}: largest difference {proof.relative:.1e}")
    worst = conversion.worst
    if left_out := conversion.source.left_out:
        typer.echo(f"left out: {len(left_out)} tensors of text encoders", err=True)
    typer.echo(
        f"{len(conversion.proofs)} weights change as before; the largest difference is "
        f"{worst.relative:.1e} of a weight's largest change ({worst.module})",
        err=True,
    )
    typer.echo(conversion.path)


def _print(summary: "Summary") -> None:
    from diffusion4k.interchange.norm_figure import bar
    from diffusion4k.support.wording import counted

    lines = {
        "layout": f"{summary.layout.name} ({summary.layout.programs})",
        "family": " or ".join(summary.families) or "not known",
        "size": f"width {summary.width}" + "".join(f", {model}" for model in summary.models),
        "file": f"{summary.size / 1e6:.1f} MB, "
        + ", ".join(f"{number} tensors {dtype}" for dtype, number in summary.dtypes.items()),
        "layers": "; ".join(f"{number} x {what}" for what, number in summary.ranks.items()),
        "covers": ", ".join(f"{module} ({n})" for module, n in summary.modules.items()),
        "trigger words": ", ".join(summary.triggers) or "none noted",
    }
    typer.echo(str(summary.path))
    for what, text in lines.items():
        typer.echo(f"  {what}: {text}")
    for key, text in summary.record.items():
        typer.echo(f"  {key}: {str(text)[:200]}")
    highest = max(summary.norms.values(), default=0.0)
    if not highest:
        typer.echo("  changes nothing: it holds zeros alone, and is refused wherever it is used")
    widest = max(map(len, summary.norms), default=0)
    typer.echo("  norm of the change of each block:")
    for block, norm in summary.norms.items():
        share = norm / highest if highest else 0.0
        typer.echo(f"    {block:<{widest}} {bar(share, _BAR)} {norm:.4g}")
    reasons: dict[str, list[str]] = {}
    for key, reason in summary.not_loaded.items():
        reasons.setdefault(reason, []).append(key)
    for reason, keys in reasons.items():
        typer.echo(f"  not loaded: {counted(len(keys), 'tensor')}, such as {keys[0]}: {reason}")
    typer.echo(f"  convert it: {summary.command}")
