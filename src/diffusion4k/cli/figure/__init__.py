"""`diffusion4k figure`: the figures of the paper's supplement, from folders of images."""

import importlib

import typer

__all__ = ["VERBS", "register"]

VERBS = ("side_by_side", "ablation", "gallery", "variations", "text", "reconstructions")
"""Each a module of this package with a command function of the same name, and its EXAMPLE."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Draw figures: PNG, JPEG or PDF.")
    for verb in VERBS:
        module = importlib.import_module(f"diffusion4k.cli.figure.{verb}")
        name = verb.replace("_", "-")
        group.command(name, epilog=module.EXAMPLE)(getattr(module, verb))
    app.add_typer(group, name="figure")
