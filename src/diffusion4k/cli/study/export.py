"""`diffusion4k study export`: the answers as a file."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values

__all__ = ["EXAMPLE", "export"]

EXAMPLE = """Example:

diffusion4k study export recipes/pocket-study.yaml answers.csv
"""


def export(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    out: Annotated[Path, typer.Argument(help="A .csv, .jsonl or .parquet file.")],
    overrides: Annotated[list[str] | None, key_values("study", "views=5")] = None,
) -> None:
    """Write the valid answers to a file, also while the study runs."""
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.study.config import read_study
    from diffusion4k.preference.study.run import take_out

    count = take_out(read_study(study, overrides), out)
    typer.echo(f"{count} answers in {out}")
