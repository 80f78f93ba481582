"""Arguments that several commands share."""

import typer
from typer.models import ArgumentInfo

__all__ = ["key_values"]


def key_values(what: str, example: str) -> ArgumentInfo:
    """`[KEY=VALUE]...` behind a file of settings, which is called `what`."""
    given: ArgumentInfo = typer.Argument(
        help=f"Keys of the {what} with other values, for example {example}.",
        metavar="KEY=VALUE",
        show_default=False,
    )
    return given
