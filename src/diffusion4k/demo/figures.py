"""Pictures of the report, each as text that a page can hold: JPEG data URIs and inline SVG."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion4k.metrics.glcm import glcm_map

__all__ = ["Box", "busiest_places", "crop_uri", "loss_curve", "reduced_uri"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_PATCH = 64


def reduced_uri(path: Path, longest: int = 1100) -> str:
    """The image, reduced so that its longer side is at most `longest`, as a JPEG data URI."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return _uri(image, 85)


def crop_uri(path: Path, box: Box) -> str:
    """The pixels of `box` as they are, as a JPEG data URI of quality 92."""
    with Image.open(path) as opened:
        return _uri(opened.convert("RGB").crop(box), 92)


def busiest_places(path: Path, side: int, count: int = 2) -> list[Box]:
    """Squares of `side` pixels with the highest mean GLCM Score that do not overlap."""
    with Image.open(path) as opened:
        scores = glcm_map(np.asarray(opened.convert("RGB"))).score
    cells = max(1, min(side // _PATCH, *scores.shape))
    windows = np.lib.stride_tricks.sliding_window_view(scores, (cells, cells)).mean((2, 3))
    boxes: list[Box] = []
    for _ in range(count):
        row, column = np.unravel_index(int(windows.argmax()), windows.shape)
        left, top = int(column) * _PATCH, int(row) * _PATCH
        boxes.append((left, top, left + cells * _PATCH, top + cells * _PATCH))
        near_rows = slice(max(0, int(row) - cells + 1), int(row) + cells)
        near_columns = slice(max(0, int(column) - cells + 1), int(column) + cells)
        windows = _masked(windows, near_rows, near_columns)
        if not np.isfinite(windows).any():
            break
    return boxes


def loss_curve(
    training: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]
) -> str:
    """Training loss from zero on, and validation loss on a scale of its own; an SVG element."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none"}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), constrained_layout=True)
        left.plot(*_columns(training), ".", color="#6f8296", markersize=6)
        left.set_title("training loss, one batch each", fontsize=10, loc="left")
        left.set_ylim(bottom=0)
        right.plot(*_columns(validation), "o-", color="#0b6e4f")
        right.set_title(
            "validation loss, fixed noise (scale not from zero)", fontsize=10, loc="left"
        )
        right.margins(y=0.3)
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#e8ebee")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _columns(curve: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [loss for _, loss in curve]


def _masked(windows: NDArray[np.float64], rows: slice, columns: slice) -> NDArray[np.float64]:
    left = windows.copy()
    left[rows, columns] = -np.inf
    return left


def _uri(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
