"""`diffusion4k study links`: personal links for participants."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLE", "links"]

EXAMPLE = """Example:

diffusion4k study links recipes/pocket-study.yaml --count 10 --out links.csv
"""


def links(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value in place of what the file says.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many participants.")] = 10,
    out: Annotated[Path, typer.Option(help="A new CSV file for the links.")] = Path("links.csv"),
    address: Annotated[
        str, typer.Option(help="The study's address, as participants reach it.")
    ] = "http://127.0.0.1:8765",
) -> None:
    """Make personal links, also while the study runs.

    Only their hashes are kept: the file is the one place where they are.
    """
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.study.config import read_study
    from diffusion4k.preference.study.run import make_links, origin_of

    make_links(read_study(study, overrides), count, out, origin_of(address))
    typer.echo(f"{count} links in {out}: send each to one person, and keep the file to yourself")
