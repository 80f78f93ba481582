"""The figures of a study, each as PNG and PDF: where arms differ, and how their images look."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from diffusion4k.ablation.results import AblationEntry, AblationResults, ArmCurve
from diffusion4k.ablation.summary import BEFORE, DECODED, PHOTOGRAPHS
from diffusion4k.benchmark.figures.canvas import save_figure
from diffusion4k.benchmark.figures.side_by_side import draw_side_by_side
from diffusion4k.benchmark.tables import ARROWS
from diffusion4k.benchmark.values import EMPTY
from diffusion4k.imagesets.match import MatchedRow
from diffusion4k.imagesets.models import ImageSetEntry
from diffusion4k.metrics.measure import Column
from diffusion4k.support.figures import INK, KEPT, LIMIT, SOFT, new_figure, tidy, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_all"]

_COLOURS = (
    *("#0b6e4f", "#e4a700", "#4a6fa5", "#d1345b", "#7a5195", "#6f8296", "#c46a1b", "#2aa1a1"),
    *("#9c8b4a", "#3d3d8f", "#b35c9e", "#5c7a2e"),
)
_STYLES = ("-", "--", ":", "-.")
_OTHERS = {BEFORE: ":", PHOTOGRAPHS: "-", DECODED: "--"}
_ACROSS = 3  # small figures of columns
_TITLE = 30  # letters a line
_PROMPTS = 3  # of the sheet of samples
_NAMES = {
    "all": "all sub-bands",
    "LL": "LL",
    "LH": "LH",
    "HL": "HL",
    "HH": "HH",
}


def draw_all(results: AblationResults, folder: Path) -> dict[str, Path]:
    """Write every figure for which there is something to draw; its PNG by its name."""
    drawn = {"differences": _differences(results, folder), "bars": _bars(results, folder)}
    drawn["levels"] = _levels(results, folder)
    drawn["spectra"] = _spectra(results, folder)
    if len(results.steps) > 1:
        drawn["steps"] = _steps(results, folder)
    drawn["samples"] = _samples(results, folder / "samples.png")
    return drawn


def _style(results: AblationResults, arm: str) -> tuple[str, str]:
    """An arm's colour and kind of line, the same in all figures."""
    at = results.arms.index(arm)
    return _COLOURS[at % len(_COLOURS)], _STYLES[at // len(_COLOURS) % len(_STYLES)]


def _differences(results: AblationResults, folder: Path) -> Path:
    """A small figure of each main column: the arms' differences from the baseline."""
    columns = results.main_columns()
    arms = [arm for arm in results.arms if arm != results.baseline]
    down = -(-len(columns) // _ACROSS)
    with new_figure(11, down * (0.8 + 0.22 * len(arms))) as figure:
        for number, column in enumerate(columns):
            axes = figure.add_subplot(down, _ACROSS, number + 1)
            _one_column(axes, results, column, arms, named=number % _ACROSS == 0)
        return write_figure(figure, folder, "differences")


def _one_column(
    axes: "Axes", results: AblationResults, column: Column, arms: Sequence[str], *, named: bool
) -> None:
    axes.axvline(0, color=SOFT, linewidth=1)
    base = results.entry(results.baseline, column.name)
    if base and base.value.value is not None:
        reach = abs(base.value.value) * float(results.facts["study"]["margin"])
        axes.axvspan(-reach, reach, color="#eef1f4", zorder=0)
    for place, arm in enumerate(reversed(arms)):
        entry = results.entry(arm, column.name)
        cell = entry.difference if entry else None
        if not entry or not cell or cell.value is None:
            continue
        colour = {"better": KEPT, "worse": LIMIT}.get(entry.verdict, SOFT)
        axes.plot(cell.value, place, "o", color=colour, markersize=4.5)
        if cell.low is not None and cell.high is not None:
            axes.plot([cell.low, cell.high], [place, place], "-", color=colour, linewidth=1.6)
    axes.set_yticks(range(len(arms)), list(reversed(arms)) if named else [""] * len(arms))
    axes.set_ylim(-0.6, len(arms) - 0.4)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(_title(column))
    tidy(axes, "x")


def _bars(results: AblationResults, folder: Path) -> Path:
    """A bar of each arm in every main column; the dotted line is the model before training."""

    def draw(axes: "Axes", column: Column) -> None:
        for place, arm in enumerate(results.arms):
            _bar(axes, place, results.entry(arm, column.name), _style(results, arm)[0], arm)
        start = results.entry(BEFORE, column.name, 0)
        if start and start.value.value is not None:
            axes.axhline(start.value.value, color=INK, linewidth=1, linestyle=_OTHERS[BEFORE])
        axes.set_xticks(range(len(results.arms)), [""] * len(results.arms))

    return _by_column(results, folder, "bars", draw)


def _bar(axes: "Axes", place: int, entry: AblationEntry | None, colour: str, arm: str) -> None:
    cell = entry.value if entry else EMPTY
    if cell.value is None:
        return
    axes.bar(place, cell.value, color=colour, label=arm)
    if cell.low is not None and cell.high is not None:
        axes.plot([place, place], [cell.low, cell.high], color=INK, linewidth=1.2)


def _title(column: Column) -> str:
    return "\n".join(wrap(f"{column.heading} {ARROWS[column.better]}", _TITLE))


def _levels(results: AblationResults, folder: Path) -> Path:
    """The velocity's error by noise level and sub-band, relative to the baseline's."""
    with new_figure(11, 6) as figure:
        places = figure.subplots(2, 3, sharey=True)
        for axes, (name, curves) in zip(places.flat, results.by_level.items(), strict=False):
            for curve in curves:
                _line(axes, results, curve)
            axes.axhline(0, color=INK, linewidth=1)
            axes.set_title(_NAMES[name])
            tidy(axes)
        for axes in places[1]:
            axes.set_xlabel("noise level sigma")
        for axes in places[:, 0]:
            axes.set_ylabel(f"beside {results.baseline}, %")
        places.flat[-1].axis("off")
        handles, labels = places.flat[0].get_legend_handles_labels()
        places.flat[-1].legend(handles, labels, loc="center left")
        return write_figure(figure, folder, "levels")


def _line(axes: "Axes", results: AblationResults, curve: ArmCurve) -> None:
    colour, style = _style(results, curve.arm)
    percent = [100 * value for value in curve.values]
    axes.plot(results.levels, percent, style, color=colour, linewidth=1.4, label=curve.arm)
    if None not in curve.low:
        low, high = ([100 * v for v in side if v is not None] for side in (curve.low, curve.high))
        axes.fill_between(results.levels, low, high, color=colour, alpha=0.1, linewidth=0)


def _spectra(results: AblationResults, folder: Path) -> Path:
    """Power by frequency: as it is, and beside the photographs'."""
    photographs = next((c for c in results.spectra if c.arm == PHOTOGRAPHS), None)
    with new_figure(11, 3.8) as figure:
        places = figure.subplots(1, 2 if photographs else 1, squeeze=False)[0]
        for curve in results.spectra:
            style = _line_style(results, curve.arm)
            places[0].plot(results.frequencies, curve.values, label=curve.arm, **style)
            if photographs and curve is not photographs:
                pairs = zip(curve.values, photographs.values, strict=True)
                places[1].plot(results.frequencies, [a - b for a, b in pairs], **style)
        places[0].set_ylabel("power, log2")
        if photographs:
            places[1].axhline(0, color=INK, linewidth=1)
            places[1].set_ylabel("beside photographs, log2 (-1: half)")
        for axes in places:
            axes.set_xlabel("frequency, cycles per pixel")
            tidy(axes)
        figure.legend(loc="outside right center")
        return write_figure(figure, folder, "spectra")


def _line_style(results: AblationResults, arm: str) -> dict[str, object]:
    if arm in _OTHERS:
        return {"color": INK, "linewidth": 1.6, "linestyle": _OTHERS[arm]}
    colour, style = _style(results, arm)
    return {"color": colour, "linewidth": 1.3, "linestyle": style}


def _steps(results: AblationResults, folder: Path) -> Path:
    """Every main column over the steps."""

    def draw(axes: "Axes", column: Column) -> None:
        start = results.entry(BEFORE, column.name, 0)
        for arm in results.arms:
            found = [(0, start), *((s, results.entry(arm, column.name, s)) for s in results.steps)]
            points = [(s, e.value.value) for s, e in found if e and e.value.value is not None]
            colour, style = _style(results, arm)
            axes.plot(*zip(*points, strict=True), style, color=colour, label=arm, linewidth=1.3)

    return _by_column(results, folder, "steps", draw)


def _by_column(
    results: AblationResults, folder: Path, name: str, draw: Callable[["Axes", Column], None]
) -> Path:
    """A small figure of each main column, and one legend of the arms."""
    columns = results.main_columns()
    down = -(-len(columns) // _ACROSS)
    with new_figure(11, 2.1 * down) as figure:
        for number, column in enumerate(columns, 1):
            axes = figure.add_subplot(down, _ACROSS, number)
            draw(axes, column)
            axes.set_title(_title(column))
            tidy(axes)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
        return write_figure(figure, folder, name)


def _samples(results: AblationResults, path: Path) -> Path:
    """Images of the first prompts and seed, the same regions enlarged (as the supplement's Fig. 9).

    One arm beside the next in sheets, the baseline first; before training stands in each.
    """
    others = [arm for arm in results.arms if arm != results.baseline]
    names = [BEFORE, results.baseline, *others]
    count = len(results.shown[results.baseline])
    rows = [
        MatchedRow(
            results.shown[results.baseline][at][0],
            tuple(_image(results, name, at) for name in names),
        )
        for at in range(min(_PROMPTS, count))
    ]
    width = max(1200, 400 * len(names))
    save_figure(draw_side_by_side(rows, names, width=width, last_differs=False), path)
    return path


def _image(results: AblationResults, name: str, at: int) -> ImageSetEntry:
    prompt, file = results.shown[name][at]
    return ImageSetEntry(Path(file), Path(file).name, prompt)
