"""Frames around a photograph: uniform borders, letterbox bars, white margins.

From each side, rows (or columns) are counted as long as they are of the colour of the outermost
one: at least 98% of their pixels differ from it by at most 10 in every channel. They are a border
only where it ends at once: within the next 12 rows, at least 30% of the pixels must differ from
that colour by more than 16. A night sky or a blown-out wall, which fades into the picture, is none.

A share of the picture's height or width, 0 to 0.5 on each side. Frames with a pattern or a
gradient are not seen.
"""

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.measures.picture import Photograph

__all__ = ["MEASURES", "measure"]

MEASURES = {
    "border_top": "uniform rows at the top, share of the height (0 to 0.5; less is better)",
    "border_bottom": "uniform rows at the bottom, share of the height (0 to 0.5; less is better)",
    "border_left": "uniform columns at the left, share of the width (0 to 0.5; less is better)",
    "border_right": "uniform columns at the right, share of the width (0 to 0.5; less is better)",
    "border": "the widest of the four borders, share of that side (0 to 0.5; less is better)",
}
SAME = 10
OTHER = 16
UNIFORM = 0.98
ABRUPT = 0.3
REACH = 12


def measure(picture: Photograph) -> dict[str, float]:
    """Widths of the four borders."""
    pixels = picture.pixels
    turned = pixels.transpose(1, 0, 2)
    sides = {"top": pixels, "bottom": pixels[::-1], "left": turned, "right": turned[::-1]}
    values = {f"border_{name}": _width(rows) / len(rows) for name, rows in sides.items()}
    return values | {"border": max(values.values())}


def _width(rows: NDArray[np.uint8]) -> int:
    """Rows of the border that `rows` begins with."""
    colour = np.median(rows[0], axis=0)
    width, half = 0, len(rows) // 2
    while width < half and (_distance(rows[width], colour) <= SAME).mean() >= UNIFORM:
        width += 1
    if not 0 < width < half:
        return 0
    # JPEG rings on both sides of an edge, so that the border seems to end some rows before.
    beyond = rows[width : width + REACH]
    changed = max((_distance(row, colour) > OTHER).mean() for row in beyond)
    return width if changed >= ABRUPT else 0


def _distance(row: NDArray[np.uint8], colour: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(row.astype(np.float32) - colour).max(axis=-1)
