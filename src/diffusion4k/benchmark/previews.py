"""Pictures of the report, each as text that a page can hold: small previews, and the intervals."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.benchmark.model_runs import ModelRun
from diffusion4k.benchmark.results import BenchmarkResults, TableRow
from diffusion4k.benchmark.tables import ARROWS
from diffusion4k.benchmark.values import EMPTY
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import as_pil
from diffusion4k.metrics.measure import Column
from diffusion4k.support.data_uri import jpeg_uri
from diffusion4k.support.figures import KEPT, SOFT, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PromptPreview", "interval_figure", "previews"]

_SHOWN = 6  # prompts
_SIDE = 360
_ACROSS = 3  # small figures


@dataclass(frozen=True)
class PromptPreview:
    """A prompt, and the image of each row that has one: its name and data URI."""

    prompt: str
    images: list[tuple[str, str]]


def previews(model_runs: Sequence[ModelRun]) -> list[PromptPreview]:
    """The first prompts of which most rows have an image, and those images, reduced."""
    pairs = [model_run.by_pair() for model_run in model_runs]
    every = list(dict.fromkeys(pair for row in pairs for pair in row))
    # Sorting keeps the order of the prompts among those that as many rows have.
    every.sort(key=lambda pair: -sum(pair in row for row in pairs))
    chosen: dict[str, tuple[str, int]] = {}
    for pair in every:
        chosen.setdefault(pair[0], pair)
    found = []
    for prompt, pair in list(chosen.items())[:_SHOWN]:
        images = []
        for model_run, row in zip(model_runs, pairs, strict=True):
            if pair in row and (uri := _reduced_uri(row[pair].path)):
                images.append((model_run.name, uri))
        found.append(PromptPreview(prompt, images))
    return found


def interval_figure(results: BenchmarkResults) -> str:
    """A small figure of each main column, a dot and its interval for each row, as SVG."""
    import matplotlib

    columns = results.main_columns()
    rows = results.of_kind("ours", "photographs")
    down = -(-len(columns) // _ACROSS)
    # The same page every time, and no address in it.
    same = matplotlib.rc_context({"svg.hashsalt": "diffusion4k"})
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with same, new_figure(10, down * (0.75 + 0.24 * len(rows))) as figure:
        for number, column in enumerate(columns, 1):
            axes = figure.add_subplot(down, _ACROSS, number)
            _draw(axes, column, rows)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=nothing)
    # A page holds the element alone, without the head of an XML file.
    return text.getvalue()[text.getvalue().index("<svg") :]


def _draw(axes: "Axes", column: Column, rows: Sequence[TableRow]) -> None:
    cells = [(row, row.cells.get(column.name, EMPTY)) for row in reversed(rows)]
    rows = [row for row, cell in cells if cell.value is not None]
    for row, cell in cells:
        if cell.value is None:
            continue
        place = rows.index(row)
        colour = KEPT if row.kind == "ours" else SOFT
        axes.plot(cell.value, place, "o", color=colour, markersize=4.5)
        if cell.low is not None and cell.high is not None:
            axes.plot([cell.low, cell.high], [place, place], "-", color=colour, linewidth=1.6)
    axes.set_yticks(range(len(rows)), [_short(row.name) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(f"{column.heading} {ARROWS[column.better]}")
    tidy(axes, "x")


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def _reduced_uri(path: Path) -> str | None:
    try:
        image = as_pil(path)
    except Diffusion4kError:  # It was there when it was measured.
        return None
    image.thumbnail((_SIDE, _SIDE))
    return jpeg_uri(image, 82)
