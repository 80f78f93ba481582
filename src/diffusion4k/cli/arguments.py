"""Arguments that several commands share."""

import os

import typer
from typer.models import ArgumentInfo

__all__ = ["as_utf8", "key_values"]


def as_utf8(text: str) -> str:
    """An argument as terminals send it, even where the locale says ASCII or Latin-1."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def key_values(what: str, example: str) -> ArgumentInfo:
    """`[KEY=VALUE]...` after a file of settings, which is called `what`."""
    given: ArgumentInfo = typer.Argument(
        help=f"Keys of the {what} with other values, for example {example}.",
        metavar="KEY=VALUE",
        show_default=False,
    )
    return given
