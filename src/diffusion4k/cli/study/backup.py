"""`diffusion4k study backup`: a checked copy of everything that was answered."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values

__all__ = ["EXAMPLE", "backup"]

EXAMPLE = """Example:

diffusion4k study backup recipes/pocket-study.yaml backup.sqlite
"""


def backup(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    out: Annotated[Path, typer.Argument(help="A new SQLite file.")],
    overrides: Annotated[list[str] | None, key_values("study", "views=5")] = None,
) -> None:
    """Copy the study's database while it runs, and check the copy."""
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.study.backup import back_up
    from diffusion4k.preference.study.config import read_study

    counts, digest = back_up(read_study(study, overrides), out)
    found = ", ".join(f"{count} {table}" for table, count in counts.items())
    typer.echo(f"{out}: sound; rows: {found}; SHA-256 {digest}")
