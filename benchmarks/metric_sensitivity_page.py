"""Table and figure of `metric_sensitivity.py`, put into docs/."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from diffusion4k.support.files import write_text

__all__ = ["by_ladder", "write"]

DOCS = Path(__file__).parent.parent / "docs"
MARKS = "<!-- measured -->", "<!-- /measured -->"
SHOWN = (
    "glcm_score",
    "glcm_entropy",
    "glcm_homogeneity",
    "compression_ratio",
    "bands_distance",
    "spectrum_distance",
    "detail_distance",
    "detail_distance_to_reference",
    "repetition",
    "fd_effnet",
    "fd_effnet_patch",
)
"""In the figure; the table has all."""
_UNMOVED = 0.02
_COLOURS = {"better!": "#b03030", "unmoved": "#808080", "": "#808080"}


def by_ladder(
    ladders: Mapping[str, tuple[Any, Sequence[float]]], steps: Sequence[Any]
) -> dict[str, list[Any]]:
    """The steps behind the undamaged one, as they belong to the ladders."""
    parts, start = {}, 0
    for name, (_, levels) in ladders.items():
        parts[name] = list(steps[start : start + len(levels)])
        start += len(levels)
    return parts


def write(
    result: dict[str, dict], levels: dict[str, tuple[float, ...]], sizes: dict[str, str]
) -> None:
    """The table between the marks of docs/metric-sensitivity.md, and the figure beside it."""
    path = DOCS / "metric-sensitivity.md"
    before, _, rest = path.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    named = ", ".join(f"`{name}` {size}" for name, size in sizes.items())
    lines = [f"Photographs: {named}.", "", *_table(result, levels)]
    write_text(path, f"{before}{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}")
    _figure(result, levels)


def _table(result: dict[str, dict], levels: dict[str, tuple[float, ...]]) -> list[str]:
    """A row per metric: undamaged, then the four steps of each ladder and its judgement."""
    heads = [f"{name} {', '.join(f'{x:g}' for x in steps)}" for name, steps in levels.items()]
    lines = [f"| metric | undamaged | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for metric in result.values():
        cells = [
            f"{' '.join(_short(step[0]) for step in steps)} {_judgement(metric, steps)}".rstrip()
            for steps in metric["ladders"].values()
        ]
        start = _short(metric["undamaged"][0])
        lines.append(f"| {metric['heading']} | {start} | {' | '.join(cells)} |")
    return lines


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.4g}"


def _judgement(metric: dict, steps: Sequence[Any]) -> str:
    """Which way the metric judges the damage, by the folder's values."""
    path = [metric["undamaged"][0], *(step[0] for step in steps)]
    if not metric["better"]:
        return ""
    if max(abs(value - path[0]) for value in path) < _UNMOVED * abs(path[0]):
        return "unmoved"
    if metric["better"] == "higher":
        path = [-value for value in path]
    if all(later > earlier for earlier, later in pairwise(path)):
        return "**worse**"
    return "worse, not at every step" if path[-1] > path[0] else "better!"


def _figure(result: dict[str, dict], levels: dict[str, tuple[float, ...]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(SHOWN), len(levels), figsize=(13, 1.45 * len(SHOWN)), sharey="row", sharex="col"
    )
    for row, name in zip(axes, SHOWN, strict=True):
        metric = result[name]
        for axis, (ladder, steps) in zip(row, levels.items(), strict=True):
            values = [metric["undamaged"], *metric["ladders"][ladder]]
            colour = _COLOURS.get(_judgement(metric, values[1:]), "#20508c")
            for own in zip(*(value[1] for value in values), strict=True):
                axis.plot(own, color=colour, alpha=0.25, linewidth=0.8)
            axis.plot([value[0] for value in values], color=colour, linewidth=2, marker="o", ms=3)
            axis.set_xticks(range(len(values)), ["–", *(f"{x:g}" for x in steps)], fontsize=8)
            axis.tick_params(axis="y", labelsize=7)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        better = f"\n({metric['better']} is better)" if metric["better"] else ""
        heading = metric["heading"].replace(" to reference", "\nto reference")
        row[0].set_ylabel(f"{heading}{better}", fontsize=8)
    for axis, ladder in zip(axes[0], levels, strict=True):
        axis.set_title(ladder, fontsize=10)
    figure.align_ylabels(axes[:, 0])
    figure.tight_layout(h_pad=0.6, w_pad=0.6)
    figure.savefig(DOCS / "metric-sensitivity.png", dpi=110)
