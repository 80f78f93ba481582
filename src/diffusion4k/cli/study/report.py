"""`diffusion4k study report`: what the answers of people and judges say."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLE", "report"]

EXAMPLE = """Examples:

diffusion4k study report recipes/pocket-study.yaml --out report

diffusion4k study report answers.csv --tolerate 2 --out report

diffusion4k study report answers.csv judged/answers.jsonl --ours wlf --out report
"""


def report(
    answers: Annotated[
        list[Path],
        typer.Argument(
            help="Studies (.yaml: what people and its judge answered), exports of studies, and "
            "answers of judges (.csv, .jsonl, .parquet)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    ours: Annotated[
        str | None, typer.Option(help="The model listed first; by default the best.")
    ] = None,
    tolerate: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Attention checks that a participant may fail; by default the study's, or 1.",
        ),
    ] = None,
    keep_flagged: Annotated[
        bool,
        typer.Option("--keep-flagged", help="Leave out nobody, not even flagged participants."),
    ] = False,
) -> None:
    """Report win rates with intervals, rankings and agreement: a page, LaTeX, JSON and a figure.

    Participants who failed several attention checks, or are otherwise flagged on the dashboard, are
    left out and named; the report is written whoever is left.
    """
    from diffusion4k.preference.analysis.page import headlines, warning_of
    from diffusion4k.preference.analysis.run import report as write_report

    results = write_report(answers, out, ours=ours, keep_flagged=keep_flagged, tolerated=tolerate)
    for line in headlines(results):
        typer.echo(line)
    if warning := warning_of(results):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"report: {out / 'report.html'}")
