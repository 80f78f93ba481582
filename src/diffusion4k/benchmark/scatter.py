"""The agreement of metrics with people, as a table for the terminal and as scatter plots."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffusion4k.benchmark.human_agreement import Agreement, Indicator
from diffusion4k.statistics import Interval
from diffusion4k.support.figures import KEPT, SOFT, new_figure, tidy, write_plot
from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FIGURE_SUFFIXES", "draw_scatter", "show_agreement"]

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")

_HEADINGS = {"srcc": "SRCC", "plcc": "PLCC", "kendall": "Kendall"}
_ACROSS = 3


def show_agreement(agreement: Agreement, console: Console | None = None) -> None:
    """Print the correlations beside the paper's, the agreement of raters, and what was left out."""
    console = console or Console()
    images, raters = len(agreement.means), len(agreement.ratings.raters)
    title = f"Against the mean ratings of {counted(images, 'image')} by {counted(raters, 'rater')}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in (*_HEADINGS.values(), "paper"):
        table.add_column(heading, justify="right")
    for each in agreement.indicators:
        paper = "/".join(f"{value:.2f}" for value in each.published or ())
        found = [_said(each.correlations[kind]) for kind in _HEADINGS]
        table.add_row(escape(each.label), *map(escape, found), paper)
    console.print(table)
    console.print("In brackets 95% intervals (BCa bootstrap over images).")
    for level, alpha in agreement.alpha.items():
        console.print(f"Krippendorff's alpha, {level}: {_said(alpha)}", markup=False)
    for rater in agreement.raters:
        beside = "–" if math.isnan(rater.with_others) else f"{rater.with_others:.2f}"
        console.print(
            f"rater {rater.name}: {counted(rater.ratings, 'rating')}, SRCC with the mean of "
            "the others "
            f"{beside} ({counted(rater.common, 'image')})",
            markup=False,
        )
    for warning in agreement.warnings:
        console.print(f"note: {warning}", markup=False)


def draw_scatter(agreement: Agreement, path: Path) -> None:
    """Write a scatter plot of each metric against the mean rating; the suffix says the format."""
    import matplotlib

    down = -(-len(agreement.indicators) // _ACROSS)
    across = min(_ACROSS, len(agreement.indicators))
    same = matplotlib.rc_context({"svg.hashsalt": "diffusion4k"})
    with same, new_figure(0.4 + 3.1 * across, 2.9 * down) as figure:
        for number, each in enumerate(agreement.indicators, 1):
            axes = figure.add_subplot(down, across, number)
            _draw(axes, each, agreement)
            if number % across == 1 or across == 1:
                axes.set_ylabel("mean rating")
        metadata = {".png": {"Software": None}, ".svg": {"Date": None}}.get(
            path.suffix.lower(), {"CreationDate": None}
        )
        write_plot(figure, path, metadata)


def _draw(axes: "Axes", each: Indicator, agreement: Agreement) -> None:
    # Patches rated alike lie upon each other.
    axes.plot(each.values, agreement.means, "o", color=KEPT, alpha=0.55, markersize=4.5, mew=0)
    if np.ptp(each.values) > 0:
        slope, start = np.polyfit(each.values, agreement.means, 1)
        ends = np.array([each.values.min(), each.values.max()])
        axes.plot(ends, slope * ends + start, color=SOFT, linewidth=1)
    axes.set_xlabel(each.label)
    axes.locator_params(axis="x", nbins=5)
    found = each.correlations
    axes.set_title(f"SRCC {_said(found['srcc'])}\nPLCC {_said(found['plcc'])}")
    tidy(axes)


def _said(found: Interval) -> str:
    if math.isnan(found.value):
        return "–"
    if math.isnan(found.low):
        return f"{found.value:.2f}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
