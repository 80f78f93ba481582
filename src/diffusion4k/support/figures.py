"""How the figures look, and how each is written: as PNG and as PDF, the same bytes every time."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from diffusion4k.support.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

__all__ = [
    "DROPPED",
    "INK",
    "KEPT",
    "LIMIT",
    "PARTS",
    "SOFT",
    "new_figure",
    "tidy",
    "whole_numbers",
    "wrapped",
    "write_figure",
    "write_plot",
]

INK, SOFT, _LINE = "#1d2733", "#5d6b7a", "#e8ebee"
KEPT, DROPPED, LIMIT = "#0b6e4f", "#c3ccd4", "#d1345b"
PARTS = ("#0b6e4f", "#e4a700", "#4a6fa5", "#d1345b", "#7a5195", "#6f8296")
"""Colours of the parts of a dataset, in their order."""

_SETTINGS: "dict[RcKeyType, object]" = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    # Captions are text, whatever signs they hold.
    "text.parse_math": False,
    "pdf.fonttype": 42,
}


@contextmanager
def new_figure(width: float, height: float) -> Iterator["Figure"]:
    """An empty figure of so many inches; what is drawn within the block has the style."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        _allow_missing_letters()
        yield Figure(figsize=(width, height), layout="constrained")


def tidy(axes: "Axes", grid: Literal["x", "y"] = "y") -> None:
    """Remove what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_LINE)
    axes.set_axisbelow(True)


def whole_numbers(axis: "Axis") -> None:
    """Mark only whole numbers: what is counted has no halves."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def wrapped(text: str, width: float, size: float) -> list[str]:
    """The text in lines no wider than `width` inches, its letters of `size` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="sans-serif", size=size)
    widths: dict[str, float] = {}

    def wide(letter: str) -> float:
        if letter not in widths:
            with warnings.catch_warnings():
                _allow_missing_letters()
                extent = text_to_path.get_text_width_height_descent(letter, font, False)
            widths[letter] = extent[0] / 72
        return widths[letter]

    lines, used = [""], 0.0
    for word in text.split():
        needed = sum(map(wide, word))
        if lines[-1] and used + wide(" ") + needed <= width:
            lines[-1] += f" {word}"
            used += wide(" ") + needed
            continue
        if lines[-1]:
            lines.append("")
        used = 0.0
        for letter in word:  # Of a script without spaces a word may be wider than a line.
            if used + wide(letter) > width:
                lines.append("")
                used = 0.0
            lines[-1] += letter
            used += wide(letter)
    return lines


def _allow_missing_letters() -> None:
    # Captions may be in scripts that the bundled font has no letters of.
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")


def write_figure(figure: "Figure", folder: Path, name: str) -> Path:
    """Write `name.png` and `name.pdf`; the path of the former."""
    for ending, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        path = folder / f"{name}{ending}"
        write_plot(figure, path, metadata)
    return path


def write_plot(
    figure: "Figure", path: Path, metadata: Mapping[str, None], *, dpi: float = 180
) -> None:
    """Write a figure in the format that the suffix of `path` names, wholly or not at all."""
    # From memory: of a disk that is full matplotlib would make an error of its own.
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=dpi, metadata=metadata)
    write_bytes(path, content.getvalue())
