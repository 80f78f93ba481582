"""`diffusion4k dataset verify`: a check of a whole existing dataset."""

from pathlib import Path
from typing import Annotated

import typer

from diffusion4k.support.wording import counted

__all__ = ["EXAMPLE", "verify"]

EXAMPLE = """Examples:

diffusion4k dataset verify pocket

diffusion4k dataset verify photographs --min-side 64 --json problems.json --fix corrected
"""


def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A dataset: an image folder, folders of them (train, eval), pictures with text "
            "files, archives; or pocket (bundled).",
            show_default=False,
        ),
    ],
    fix: Annotated[
        Path | None,
        typer.Option(help="Write a corrected copy here.", metavar="OUT", show_default=False),
    ] = None,
    min_side: Annotated[
        int, typer.Option(help="Smallest allowed shorter side, in pixels.", min=1)
    ] = 64,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write all problems here, too.", show_default=False),
    ] = None,
) -> None:
    """Decode every picture, check every caption, list all problems, each with its kind.

    Exits with 0 if there is none, 1 if there is any, 2 on wrong usage.
    """
    from diffusion4k.curation.verify.fix import LIST, check_target, write_copy
    from diffusion4k.curation.verify.verify import verify_dataset
    from diffusion4k.data.folder import photo_folder

    dataset = photo_folder(folder)
    if fix:
        check_target(dataset, fix)
    report = verify_dataset(dataset, min_side=min_side)
    for line in report.lines():
        typer.echo(line)
    if json_file:
        report.write_json(json_file)
    if fix:
        copy = write_copy(report, fix)
        typer.echo(
            f"{copy.folder}: {counted(copy.pictures, 'photograph')}, {copy.corrected} of them "
            "corrected; "
            f"{copy.left_out} left out, see {copy.folder / LIST}"
        )
    raise typer.Exit(1 if report.problems else 0)
