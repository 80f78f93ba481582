"""Originals and their reconstructions side by side, in the manner of the supplement's Fig. 16.

Per photograph: the whole picture with a marked region, that region enlarged, and for each
autoencoder the same two and a map of its errors.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diffusion4k.metrics.regions import Box, busiest_places
from diffusion4k.support.files import atomic_path

__all__ = ["ERROR_FACTOR", "draw", "drawn"]

ERROR_FACTOR = 8
"""Factor by which the error map multiplies absolute differences."""

_CELL, _GAP, _TEXT = 300, 8, 16
_MARK, _SOFT, _GROUND = "#d7263d", "#5d6b7a", "#f5f7f9"
_PATCH = 64


def draw(
    rows: Sequence[tuple[NDArray[np.uint8], Sequence[NDArray[np.uint8]]]],
    names: Sequence[str],
    path: Path,
) -> None:
    """Write the figure of `drawn` to a PNG file."""
    with atomic_path(path) as temporary:
        drawn(rows, names).save(temporary)


def drawn(
    rows: Sequence[tuple[NDArray[np.uint8], Sequence[NDArray[np.uint8]]]],
    names: Sequence[str],
    width: int | None = None,
) -> Image.Image:
    """The figure; `rows` are an original `(H, W, 3)` and its reconstruction by each name.

    `width` in pixels; by default 300 for each column.
    """
    count = 1 + len(names)
    cell = _CELL if width is None else (width - _GAP) // count - _GAP
    width = count * (cell + _GAP) + _GAP
    text = max(_TEXT, cell // 20)
    head = 2 * text - 2
    height = head + len(rows) * (3 * (cell + _GAP) + _GAP) + head
    figure = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(figure)
    font = ImageFont.load_default(text)
    for column, name in enumerate(["original", *names]):
        pen.text((_GAP + column * (cell + _GAP), 6), name, "black", font)
    top = head
    for original, reconstructions in rows:
        box = _busiest(original, cell)
        for column, image in enumerate([original, *reconstructions]):
            left = _GAP + column * (cell + _GAP)
            figure.paste(_whole(image, box, cell), (left, top))
            figure.paste(_enlarged(image, box, cell), (left, top + cell + _GAP))
            if column:
                error = np.abs(image.astype(np.int16) - original) * ERROR_FACTOR
                map_ = Image.fromarray(error.clip(0, 255).astype(np.uint8))
                place = (left, top + 2 * (cell + _GAP))
                figure.paste(map_.resize((cell, cell), Image.Resampling.BOX), place)
        left, upper = _GAP, top + 2 * (cell + _GAP)
        pen.rectangle((left, upper, left + cell - 1, upper + cell - 1), _GROUND)
        middle = left + cell // 2, upper + cell // 2
        said = f"absolute error x {ERROR_FACTOR}\nof the pictures beside;\nblack: none"
        pen.multiline_text(middle, said, _SOFT, font, anchor="mm", align="center")
        top += 3 * (cell + _GAP) + _GAP
    pen.text((_GAP, top), "framed: enlarged, own pixels", _SOFT, font)
    return figure


def _whole(image: NDArray[np.uint8], box: Box, cell: int) -> Image.Image:
    whole = Image.fromarray(image).resize((cell, cell), Image.Resampling.LANCZOS)
    scale = cell / len(image)
    corners = [round(side * scale) for side in box]
    ImageDraw.Draw(whole).rectangle(corners, outline=_MARK, width=2)
    return whole


def _enlarged(image: NDArray[np.uint8], box: Box, cell: int) -> Image.Image:
    # Every pixel as a square of whole pixels, or else some would seem larger than others.
    crop = Image.fromarray(image).crop(box)
    factor = max(1, cell // crop.width)
    return crop.resize((crop.width * factor, crop.height * factor), Image.Resampling.NEAREST)


def _busiest(image: NDArray[np.uint8], cell: int) -> Box:
    """Busiest box that fills a cell when every pixel is a square of whole pixels."""
    left, top, right, _ = busiest_places([image], _PATCH, 1)[0]
    shorter = min(image.shape[:2])
    side = min(cell // max(1, cell // (right - left)), shorter)
    grown = (side - (right - left)) // 2
    left, top = (
        min(max(start - grown, 0), whole - side)
        for start, whole in ((left, image.shape[1]), (top, image.shape[0]))
    )
    return left, top, left + side, top + side
