"""`diffusion4k dataset inspect`: a person reviews candidates."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLE", "inspect"]

EXAMPLE = """Example:

diffusion4k dataset inspect runs/dataset
"""


def inspect(
    output: Annotated[
        Path,
        typer.Argument(help="Folder that `dataset build` wrote, or an image folder."),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0: any that is free.")
    ] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the default is open to others.")
    ] = "127.0.0.1",
    everything: Annotated[
        bool, typer.Option("--all", help="Also show candidates that a step has dropped.")
    ] = False,
) -> None:
    """Review candidates in a browser: accept, reject, correct captions.

    Prints the page's address and serves it until Ctrl-C. Every decision is in
    OUTPUT/decisions.sqlite before the page shows the next picture; `dataset build` applies them.
    """
    from diffusion4k.web.extra import require_web

    require_web()

    from diffusion4k.curation.inspection.run import run

    run(output, host=host, port=port, everything=everything)
