"""`diffusion4k study`: ask people which images are better."""

import importlib

import typer

__all__ = ["VERBS", "register"]

VERBS = ("check", "links", "serve", "export", "backup", "report")
"""Each a module of this package with a command function of the same name, and its EXAMPLE."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(
        no_args_is_help=True, help="Ask people which images are better, and keep their answers."
    )
    for verb in VERBS:
        module = importlib.import_module(f"diffusion4k.cli.study.{verb}")
        group.command(verb, epilog=module.EXAMPLE)(getattr(module, verb))
    app.add_typer(group, name="study")
