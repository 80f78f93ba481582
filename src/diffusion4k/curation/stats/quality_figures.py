"""What the build measured, with its thresholds, and what each of its steps dropped."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusion4k.curation.stats.manifest import Limit, Manifest, StepCount
from diffusion4k.support.figures import (
    DROPPED,
    KEPT,
    LIMIT,
    new_figure,
    tidy,
    whole_numbers,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_quality", "draw_steps"]

_COLUMNS, _BINS = 3, 40


def draw_quality(manifest: Manifest, folder: Path) -> Path | None:
    """Write `quality.png` and `quality.pdf`: a histogram of each measure, kept over dropped."""
    if not manifest.measures:
        return None
    rows = -(-len(manifest.measures) // _COLUMNS)
    with new_figure(10, 2.3 * rows + 0.4) as figure:
        grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axes, (name, values) in zip(grid, manifest.measures.items(), strict=False):
            _histogram(axes, values, manifest.kept, manifest.limits.get(name, []))
            axes.set_title(name.replace("_", " "))
        for axes in grid[len(manifest.measures) :]:
            axes.set_axis_off()
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
        return write_figure(figure, folder, "quality")


def draw_steps(steps: Sequence[StepCount], folder: Path) -> Path | None:
    """Write `steps.png` and `steps.pdf`: candidates left after each step, and dropped by it."""
    if not steps:
        return None
    with new_figure(10, 0.42 * len(steps) + 1.1) as figure:
        axes = figure.subplots()
        places = range(len(steps))
        kept = [step.kept for step in steps]
        axes.barh(places, kept, color=KEPT, label="kept")
        dropped = [step.dropped for step in steps]
        axes.barh(places, dropped, left=kept, color=DROPPED, label="dropped")
        for place, step in zip(places, steps, strict=True):
            axes.annotate(
                f"−{step.dropped}",
                (step.given, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(places, [step.name for step in steps])
        axes.invert_yaxis()
        axes.set_xlabel("candidates")
        whole_numbers(axes.xaxis)
        axes.margins(x=0.08)
        tidy(axes, "x")
        figure.legend(loc="outside upper right", ncols=2)
        return write_figure(figure, folder, "steps")


def _histogram(axes: "Axes", values: np.ndarray, kept: np.ndarray, limits: Sequence[Limit]) -> None:
    measured = np.isfinite(values)
    # A few outliers would squeeze all others into one bar; they are counted at the edge.
    low, high = np.quantile(values[measured], (0.005, 0.995))
    thresholds = [limit.value for limit in limits]
    low, high = min([low, *thresholds]), max([high, *thresholds])
    margin = (high - low) * 0.03 or abs(low) * 0.05 or 0.5
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    shown = [values[measured & kept].clip(low, high), values[measured & ~kept].clip(low, high)]
    axes.hist(shown, edges.tolist(), stacked=True, color=[KEPT, DROPPED], label=["kept", "dropped"])
    for limit in limits:
        axes.axvline(limit.value, color=LIMIT, linewidth=1.2)
        sign = "≥" if limit.kind == "min" else "≤"
        at_right_edge = limit.value > edges[0] + 0.8 * (edges[-1] - edges[0])
        axes.annotate(
            f"{sign} {limit.value:g}",
            (limit.value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if at_right_edge else 3, -2),
            textcoords="offset points",
            ha="right" if at_right_edge else "left",
            va="top",
            color=LIMIT,
            fontsize=8,
        )
    whole_numbers(axes.yaxis)
    tidy(axes)
