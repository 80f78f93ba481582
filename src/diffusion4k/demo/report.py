"""The demo's numbers: as one HTML file that needs nothing else, and as a table on the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from diffusion4k.demo.figures import crop_uri, reduced_uri
from diffusion4k.demo.result import DemoResult, DemoRow, PromptChange
from diffusion4k.metrics.regions import busiest_places
from diffusion4k.sampling import Output
from diffusion4k.support.files import write_text
from diffusion4k.support.report_page import render
from diffusion4k.training.watch.loss_figure import loss_curve

__all__ = ["show", "write_report"]

_CROP = 512
_CELL = 64
_COLOURS = ("#e4a700", "#d1345b")


@dataclass(frozen=True)
class _Mark:
    """A marked region: its colour, its frame in percent of the image, and the crops of it."""

    colour: str
    left: float
    top: float
    width: float
    height: float
    pixels: str
    crops: list[tuple[str, str]]


def write_report(result: DemoResult, facts: dict[str, Any], path: Path) -> Path:
    """Write the report of a finished run to `path`; images are embedded, nothing is linked.

    Args:
        facts: what `result.json` holds.
    """
    before, after, aspect, direct = (
        result.images[name] for name in ("before", "after", "aspect", "direct")
    )
    whole = [("in stages", after[0].path), ("directly", direct[0].path)]
    page = render(
        "demo/report.html",
        facts=facts,
        pairs=[_pair(*each) for each in zip(before, after, result.changes, strict=True)],
        aspect={"settings": aspect[0].settings, "uri": reduced_uri(aspect[0].path)},
        direct={
            "settings": direct[0].settings,
            "images": [(name, reduced_uri(path)) for name, path in whole],
        },
        is_staged=after[0].settings.stages is not None,
        curve=loss_curve(result.losses, result.validation),
        clock=_clock,
    )
    write_text(path, page)
    return path


def show(rows: Sequence[DemoRow], console: Console | None = None) -> None:
    """Print the table, by default on standard error."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in (
        "images",
        "detail",
        "FD-EffNet-patch",
        "grid",
        "GLCM Score",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        distance = "-" if row.fd_effnet_patch is None else f"{row.fd_effnet_patch:.1f}"
        table.add_row(
            row.label,
            str(row.images),
            f"{row.detail_distance:.2f}",
            distance,
            f"{row.token_grid_ratio:.3f}",
            f"{row.glcm_score:.3f}",
        )
    (console or Console(stderr=True)).print(table)


def _pair(before: Output, after: Output, change: PromptChange) -> dict[str, Any]:
    settings = after.settings
    # A quarter of the image at most, so that the frame of a small image shows where it lies.
    side = min(_CROP, max(_CELL, settings.width // 4 // _CELL * _CELL))
    views = (("before", before.path), ("after", after.path))
    marks = []
    for colour, box in zip(_COLOURS, busiest_places([after.path], side), strict=False):
        left, top, right, bottom = box
        marks.append(
            _Mark(
                colour,
                100 * left / settings.width,
                100 * top / settings.height,
                100 * (right - left) / settings.width,
                100 * (bottom - top) / settings.height,
                f"{right - left}×{bottom - top} pixels at ({left}, {top})",
                [(name, crop_uri(path, box)) for name, path in views],
            )
        )
    images = [(name, reduced_uri(path)) for name, path in views]
    return {"settings": settings, "images": images, "marks": marks, "change": change}


def _clock(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min"
