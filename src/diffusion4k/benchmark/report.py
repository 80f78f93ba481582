"""The benchmark's report: one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from diffusion4k.benchmark.model_runs import ModelRun
from diffusion4k.benchmark.previews import interval_figure, previews
from diffusion4k.benchmark.results import BenchmarkResults, TableRow, shown
from diffusion4k.benchmark.tables import ARROWS
from diffusion4k.benchmark.values import EMPTY
from diffusion4k.metrics.measure import Column
from diffusion4k.support.files import write_text
from diffusion4k.support.report_page import render

__all__ = ["write_report"]


def write_report(results: BenchmarkResults, model_runs: Sequence[ModelRun], path: Path) -> None:
    """Write the page to `path`; pictures are embedded, nothing is linked."""
    marks: dict[tuple[str, ...], int] = {}
    for row in results.rows:
        if row.notes:
            marks.setdefault(row.notes, len(marks) + 1)

    def cell(row: TableRow, column: Column) -> tuple[str, str]:
        """The value, and its interval without brackets."""
        text = shown(row.cells.get(column.name, EMPTY), column)
        value, _, interval = text.partition(" [")
        return value, interval.rstrip("]")

    page = render(
        "benchmark/report.html",
        results=results,
        facts=results.facts,
        rows=results.of_kind("ours", "photographs"),
        beside=results.of_kind("ours", "published"),
        columns=results.main_columns(),
        further=results.further_columns(),
        published_columns=results.published_columns(),
        marks=marks,
        cell=cell,
        difference=lambda each, column: shown(
            each.cells.get(column.name, EMPTY), column, sign=True
        ),
        arrow=ARROWS,
        previews=previews(model_runs),
        figure=interval_figure(results),
    )
    write_text(path, page)
