"""`diffusion4k study links`: personal links for participants."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.study.address import with_address

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
        str | None,
        typer.Option(
            help="How participants reach the study, for example http://192.168.1.20:8765; by "
            "default its key `address`, or only this machine."
        ),
    ] = None,
    revoke: Annotated[
        list[str] | None,
        typer.Option(help="A participant, as p-0003, whose link is to be revoked."),
    ] = None,
) -> None:
    """Make personal links, or revoke them with --revoke, also while the study runs.

    Only their hashes are kept: the file is the only copy.
    """
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.study.config import read_study
    from diffusion4k.preference.study.run import make_links, revoke_links
    from diffusion4k.support.wording import counted

    config = with_address(read_study(study, overrides), address)
    if revoke:
        revoke_links(config, revoke)
        typer.echo(
            f"revoked: {', '.join(revoke)}; what they have answered is kept, but left out of the "
            "report"
        )
        return
    origin = config.address or "http://127.0.0.1:8765"
    notes = make_links(config, count, out, origin)
    typer.echo(
        f"{counted(count, 'link')} to {origin} in {out}: send each to one person, keep the file to "
        "yourself"
    )
    for note in notes:
        typer.echo(note, err=True)
