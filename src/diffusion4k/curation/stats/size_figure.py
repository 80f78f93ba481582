"""Histograms of height and width (supplement, Fig. 13)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffusion4k.curation.stats.collect import StatsPart
from diffusion4k.support.figures import (
    INK,
    PARTS,
    new_figure,
    tidy,
    whole_numbers,
    write_figure,
)

__all__ = ["draw_sizes"]

_BINS = 40


def draw_sizes(parts: Sequence[StatsPart], folder: Path) -> Path:
    """Write `sizes.png` and `sizes.pdf`: pictures per height and per width, parts stacked."""
    longest = max(int(max(part.heights.max(), part.widths.max())) for part in parts)
    edges = np.linspace(0, longest * 1.02, _BINS + 1)
    colours = [PARTS[number % len(PARTS)] for number in range(len(parts))]
    with new_figure(10, 3.4) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, name in zip(axes, ("heights", "widths"), strict=True):
            values = [getattr(part, name) for part in parts]
            ax.hist(
                values, edges.tolist(), stacked=True, color=colours, label=[p.name for p in parts]
            )
            median = float(np.median(np.concatenate(values)))
            ax.axvline(median, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            ax.set_title(f"{name[:-1]}, median {median:.0f} pixels")
            ax.set_xlabel("pixels")
            whole_numbers(ax.yaxis)
            tidy(ax)
        axes[0].set_ylabel("pictures")
        if len(parts) > 1:
            axes[1].legend()
        return write_figure(figure, folder, "sizes")
