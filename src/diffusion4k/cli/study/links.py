"""`diffusion4k study links`: personal links for participants."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values

__all__ = ["EXAMPLE", "links"]

EXAMPLE = """Examples:

diffusion4k study links recipes/pocket-study.yaml --count 10 --out links.csv

diffusion4k study links recipes/pocket-study.yaml --revoke p-0003
"""


def links(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    overrides: Annotated[list[str] | None, key_values("study", "views=5")] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many participants.")] = 10,
    out: Annotated[Path, typer.Option(help="A new CSV file for the links.")] = Path("links.csv"),
    address: Annotated[
        str, typer.Option(help="The study's address, as participants reach it.")
    ] = "http://127.0.0.1:8765",
    revoke: Annotated[
        list[str] | None,
        typer.Option(help="A participant, as p-0003, whose link is to be good no more."),
    ] = None,
) -> None:
    """Make personal links, or revoke them with --revoke, also while the study runs.

    Only their hashes are kept: the file is the one place where they are.
    """
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.study.config import read_study
    from diffusion4k.preference.study.run import make_links, origin_of, revoke_links

    config = read_study(study, overrides)
    if revoke:
        revoke_links(config, revoke)
        typer.echo(f"revoked: {', '.join(revoke)}; what they have answered is kept")
        return
    make_links(config, count, out, origin_of(address))
    typer.echo(f"{count} links in {out}: send each to one person, and keep the file to yourself")
