"""Originals and their reconstructions side by side, in the manner of the supplement's Fig. 16.

Per photograph: the whole picture with a marked place, that place enlarged, and for each autoencoder
the same two and a map of its errors.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diffusion4k.files import atomic_path
from diffusion4k.metrics.glcm import glcm_map

__all__ = ["ERROR_FACTOR", "draw"]

ERROR_FACTOR = 8
"""By which the error map multiplies absolute differences."""

_CELL, _GAP, _HEAD = 300, 8, 30
_MARK = "#d7263d"
_GLCM_PATCH = 64


def draw(
    rows: Sequence[tuple[NDArray[np.uint8], Sequence[NDArray[np.uint8]]]],
    names: Sequence[str],
    path: Path,
) -> None:
    """Write the figure; `rows` are an original `(H, W, 3)` and its reconstruction by each name."""
    width = (1 + len(names)) * (_CELL + _GAP) + _GAP
    height = _HEAD + len(rows) * (3 * (_CELL + _GAP) + _GAP) + _HEAD
    figure = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(figure)
    font = ImageFont.load_default(16)
    for column, name in enumerate(["original", *names]):
        pen.text((_GAP + column * (_CELL + _GAP), 6), name, "black", font)
    top = _HEAD
    for original, reconstructions in rows:
        box = _busiest(original)
        for column, image in enumerate([original, *reconstructions]):
            left = _GAP + column * (_CELL + _GAP)
            figure.paste(_whole(image, box), (left, top))
            crop = Image.fromarray(image).crop(box).resize((_CELL, _CELL), Image.Resampling.NEAREST)
            figure.paste(crop, (left, top + _CELL + _GAP))
            if column:
                error = np.abs(image.astype(np.int16) - original) * ERROR_FACTOR
                map_ = Image.fromarray(error.clip(0, 255).astype(np.uint8))
                place = (left, top + 2 * (_CELL + _GAP))
                figure.paste(map_.resize((_CELL, _CELL), Image.Resampling.BOX), place)
        place = (_GAP, top + 2 * (_CELL + _GAP) + _CELL // 2 - 10)
        pen.text(place, f"absolute error x {ERROR_FACTOR}", "#5d6b7a", font)
        top += 3 * (_CELL + _GAP) + _GAP
    pen.text((_GAP, top), "framed: enlarged, own pixels", "#5d6b7a", font)
    with atomic_path(path) as temporary:
        figure.save(temporary)


def _whole(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> Image.Image:
    whole = Image.fromarray(image).resize((_CELL, _CELL), Image.Resampling.LANCZOS)
    scale = _CELL / len(image)
    corners = [round(side * scale) for side in box]
    ImageDraw.Draw(whole).rectangle(corners, outline=_MARK, width=2)
    return whole


def _busiest(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The patch of most texture by GLCM Score; the middle of a picture smaller than one."""
    side = _GLCM_PATCH
    if len(image) < side:
        return 0, 0, len(image), len(image)
    scores = glcm_map(image).score
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    left, top = int(column) * side, int(row) * side
    return left, top, left + side, top + side
