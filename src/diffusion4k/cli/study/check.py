"""`diffusion4k study check`: whether a study can begin."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values

__all__ = ["EXAMPLE", "check"]

EXAMPLE = """Example:

diffusion4k study check recipes/pocket-study.yaml
"""


def check(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    overrides: Annotated[list[str] | None, key_values("study", "views=5")] = None,
) -> None:
    """Check a study's folders and say what it shows, or what is wrong with it."""
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.study.config import read_study
    from diffusion4k.preference.study.run import describe

    for line in describe(read_study(study, overrides)):
        typer.echo(line)
