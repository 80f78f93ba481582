"""The figure: how often each of two models was preferred, in the manner of the paper's Fig. 6.

One panel for each pair of models; in it a bar for each question and group of raters, divided into
ours, tie, theirs. The whisker is the interval of our share, a tie counting half.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.preference.analysis.results import PreferenceResults, WinRate, outcomes
from diffusion4k.support.figures import INK, SOFT, new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "pairs_of", "write_bars"]

COLOURS = {"wins": "#0b6e4f", "ties": "#d3d9df", "losses": "#e4a700"}
_ROW = 0.36  # inches
_LEAST = 7.0  # percent: a narrower part has no room for its number


def write_bars(results: PreferenceResults, folder: Path) -> Path:
    """Write `bars.png` and `bars.pdf`; the path of the former."""
    panels = pairs_of(results)
    if not panels:
        with new_figure(6.8, 1.2) as figure:
            figure.text(0.5, 0.5, "no answers are left", ha="center", va="center")
            return write_figure(figure, folder, "bars")
    heights = [len(rows) + 1.3 for rows in panels.values()]
    with new_figure(6.8, max(1.6, _ROW * sum(heights) + 0.5)) as figure:
        grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for axes, (names, rows) in zip(grid[:, 0], panels.items(), strict=True):
            _draw(axes, names, rows, results["questions"])
        grid[-1, 0].set_xlabel(
            "% of scores; dot and whisker: share with ties as half, 95% interval"
        )
        return write_figure(figure, folder, "bars")


def pairs_of(
    results: PreferenceResults,
) -> dict[tuple[str, str], list[tuple[str, WinRate]]]:
    """Rows of all groups for each two models, with the group's name, question by question."""
    found: dict[tuple[str, str], list[tuple[str, WinRate]]] = {}
    for question in results["questions"]:
        for name, group in results["groups"].items():
            for row in group["win_rates"]:
                if row["question"] == question:
                    found.setdefault((row["model"], row["against"]), []).append((name, row))
    places = {model: i for i, model in enumerate(results["models"])}
    return dict(sorted(found.items(), key=lambda item: tuple(places[m] for m in item[0])))


def _draw(
    axes: "Axes",
    names: tuple[str, str],
    rows: list[tuple[str, WinRate]],
    titles: dict[str, str],
) -> None:
    ours, theirs = names
    places = range(len(rows))[::-1]
    for place, (_, row) in zip(places, rows, strict=True):
        left = 0.0
        for part, count in outcomes(row).items():
            width, colour = 100 * count / row["scores"], COLOURS[part]
            axes.barh(place, width, left=left, color=colour, height=0.72)
            if width >= _LEAST:
                ink = "white" if part == "wins" else INK
                middle = left + width / 2
                # The line at one half does not cross the number.
                ground = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
                label = f"{width:.0f}"
                axes.text(middle, place, label, ha="center", va="center", color=ink, bbox=ground)
            left += width
        value, low, high = row["share"]["value"], row["share"]["low"], row["share"]["high"]
        if value is not None and low is not None and high is not None:
            axes.plot([100 * low, 100 * high], [place - 0.46] * 2, color=INK, lw=1.2)
            axes.plot(100 * value, place - 0.46, "o", color=INK, ms=2.6)
    axes.axvline(50, color=INK, lw=0.7, ls=(0, (2, 2)))
    axes.set_yticks(list(places), [f"{titles[row['question']]} · {name}" for name, row in rows])
    axes.set_xlim(0, 100)
    axes.set_ylim(-0.7, len(rows) - 0.5)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(f"{ours}  ", color=COLOURS["wins"], fontweight="bold", loc="left")
    axes.set_title("tie", color=SOFT, loc="center")
    axes.set_title(theirs, color="#8a6500", fontweight="bold", loc="right")
