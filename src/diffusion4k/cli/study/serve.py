"""`diffusion4k study serve`: the study's pages."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.cli.arguments import key_values
from diffusion4k.cli.study.address import with_address

__all__ = ["EXAMPLE", "serve"]

EXAMPLE = """Example:

diffusion4k study serve recipes/pocket-study.yaml
"""


def serve(
    study: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    overrides: Annotated[list[str] | None, key_values("study", "views=5")] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the pages; 0: any that is free.")
    ] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the default is open to others.")
    ] = "127.0.0.1",
    address: Annotated[
        str | None,
        typer.Option(
            help="How participants reach it, for example https://study.example.org; by default the "
            "study's key `address`."
        ),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address of a proxy whose X-Forwarded headers are believed."),
    ] = None,
) -> None:
    """Serve a study until Ctrl-C; prints the address of its dashboard.

    Every answer is on the disk before the page continues. What was shown and
    asked cannot be changed once the study has begun.
    """
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.preference.study.config import read_study
    from diffusion4k.preference.study.run import run

    config = with_address(read_study(study, overrides), address)
    run(config, host=host, port=port, proxies=proxy or ())
