"""The report as a page: one HTML file that needs nothing else."""

from pathlib import Path
from typing import Any

from diffusion4k.files import write_text
from diffusion4k.preference.analysis.figure import COLOURS, pairs_of
from diffusion4k.report_page import render

__all__ = ["write_page"]


def write_page(results: dict[str, Any], path: Path) -> Path:
    """Write the page to `path`; nothing is linked."""
    page = render(
        "preference/analysis/report.html",
        results=results,
        pairs=pairs_of(results),
        colours=COLOURS,
        percent=_percent,
        number=_number,
        p_value=_p_value,
    )
    write_text(path, page)
    return path


def _percent(interval: dict[str, float | None]) -> str:
    return _interval(interval, 100, 1)


def _number(interval: dict[str, float | None]) -> str:
    return _interval(interval, 1, 2)


def _interval(interval: dict[str, float | None], scale: float, digits: int) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    if value is None:
        return "–"
    text = f"{scale * value:.{digits}f}"
    if low is None or high is None:
        return f"{text} [too little data]".replace("-", "−")
    return f"{text} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]".replace("-", "−")


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
