"""`diffusion4k dataset stats`: what is in a dataset."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLE", "stats"]

EXAMPLE = """Examples:

diffusion4k dataset stats pocket

diffusion4k dataset stats photographs --out described --card --license cc-by-4.0
"""


def stats(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Output of dataset build, an image folder, folders of them, or pocket.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of figures and page.")] = Path("dataset-stats"),
    samples: Annotated[int, typer.Option(help="Pictures in the gallery.", min=1)] = 12,
    seed: Annotated[
        int, typer.Option(help="Seed of the choice of samples and of the word cloud.")
    ] = 0,
    card: Annotated[
        bool, typer.Option("--card", help="Write the dataset's README.md for the hub, too.")
    ] = False,
    license_id: Annotated[
        str,
        typer.Option("--license", help="Licence for the card, by the Hub's name: cc-by-4.0, ..."),
    ] = "unknown",
    force: Annotated[
        bool, typer.Option("--force", help="Replace a README.md that someone wrote by hand.")
    ] = False,
) -> None:
    """Describe a dataset: sizes beside the paper's, words, samples, quality; figures and one page.

    Only headers and the pixels of the samples are read.
    """
    from diffusion4k.data.folder import photo_folder

    dataset = photo_folder(folder)
    if card:
        from diffusion4k.curation.stats.card import check_card

        check_card(dataset, license_id=license_id, force=force)

    from diffusion4k.curation.stats.run import describe

    typer.echo(describe(dataset, out, seed=seed, samples=samples))
    if card:
        from diffusion4k.curation.stats.card import write_card

        typer.echo(write_card(dataset, license_id=license_id, force=force))
