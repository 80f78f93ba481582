"""`diffusion4k study report`: what the answers of people and judges say."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLE", "report"]

EXAMPLE = """Examples:

diffusion4k study report answers.csv --out report

diffusion4k study report answers.csv judged/answers.jsonl --ours wlf --out report
"""


def report(
    answers: Annotated[
        list[Path],
        typer.Argument(help="Exports of studies and answers of judges: .csv, .jsonl, .parquet."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    ours: Annotated[
        str | None, typer.Option(help="The model that stands first; by default the best.")
    ] = None,
) -> None:
    """Win rates with intervals, rankings, agreement: as a page, LaTeX, JSON and a figure.

    Who failed an attention check is left out and named.
    """
    from diffusion4k.preference.analysis.run import report as write_report

    results = write_report(answers, out, ours=ours)
    for name, group in results["groups"].items():
        typer.echo(f"{name}: {group['answers']} answers about {group['prompts']} prompts")
    if left_out := results["checks"]["left_out"]:
        typer.echo(f"{len(left_out)} participants left out for failed attention checks")
    typer.echo(f"report: {out / 'report.html'}")
