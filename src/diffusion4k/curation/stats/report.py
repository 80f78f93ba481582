"""The page of a dataset: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffusion4k.support.files import write_text
from diffusion4k.support.report_page import render

__all__ = ["write_report"]


def write_report(
    facts: Mapping[str, object],
    figures: Mapping[str, str],
    samples: Sequence[Mapping[str, object]],
    *,
    paper_rows: int,
    phrases_shown: int,
    path: Path,
) -> Path:
    """Write the page to `path`; pictures are embedded, nothing is linked.

    Args:
        facts: what `stats.json` holds.
        figures: data URIs by name; those that are missing are left out.
        samples: `uri`, `text`, `size` and `name` of each.
        paper_rows: how many rows of the table are the paper's.
        phrases_shown: of each length.
    """
    page = render(
        "curation/stats/report.html",
        facts=facts,
        figures=figures,
        samples=samples,
        paper_rows=paper_rows,
        phrases_shown=phrases_shown,
    )
    write_text(path, page)
    return path
