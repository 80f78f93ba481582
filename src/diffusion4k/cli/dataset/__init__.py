"""`diffusion4k dataset`: from raw photographs to a dataset, and what is in one."""

import importlib

import typer

__all__ = ["VERBS", "register"]

VERBS = ("build", "caption", "inspect", "stats", "verify")
"""Each a module of this package with a command function of the same name, and its EXAMPLE."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Build, describe and check datasets.")
    for verb in VERBS:
        module = importlib.import_module(f"diffusion4k.cli.dataset.{verb}")
        group.command(verb, epilog=module.EXAMPLE)(getattr(module, verb))
    app.add_typer(group, name="dataset")
