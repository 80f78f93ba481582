"""The grid that a transformer's tokens leave in a picture: steps at their borders beside others.

A token decides a cell of `period` x `period` pixels: 32 where the autoencoder has F=16 and the
patch size is 2. Of the grey picture (OpenCV's), `d[n]` is the mean absolute difference between the
pixels n - 1 and n, over a whole column or row. A border lies at every multiple of the period, and
is compared with the positions within 24 pixels of it that are multiples of `g = gcd(period, 8)`
and no borders (8, 16 and 24 pixels to either side, if the period is 32):

    ratio = (sum over borders of d + c) / (sum over borders of the mean d of their neighbours + c)

over the borders of columns and rows together; 1 means that there is no grid. c is 0.05 grey values
for each border, so that a flat picture has 1.

Why multiples of 8: a photograph that was ever a JPEG has larger steps between its 8x8 blocks, and a
decoder between what it enlarged by 2, 4 and 8. Token borders are such positions as well, so that
against all other columns photographs have 1.1 to 1.9. Why neighbours: detail differs from region
to region more than a faint grid is strong.
"""

import math

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import ImageLike, as_array
from diffusion4k.metrics.measure import Column, Found, Mean, Measure, MeasureSetup
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.settings import BLOCK, PERIOD, check_period
from diffusion4k.metrics.spectrum import grey_of

__all__ = ["TokenGrid", "token_grid_ratio"]

_REACH = 24
_LEAST = 0.05
_STRIP = 256  # rows that are looked at together, to fit the cache


def token_grid_ratio(image: ImageLike, period: int = PERIOD) -> float:
    """How much larger steps at the borders of `period`-pixel cells are than others: 1, no grid.

    Cells are counted from the top left corner. Photographs have 0.99 to 1.01 with the period 32.

    Raises:
        UsageError: a period of 1, 2, 4 or 8, or below.
        Diffusion4kError: a broken image, or one that is no larger than a cell.
    """
    check_period(period)
    rgb = as_array(image)
    if min(rgb.shape[:2]) <= period:
        name = "" if isinstance(image, np.ndarray) else f"{getattr(image, 'filename', image)}: "
        raise Diffusion4kError(
            f"{name}image of {rgb.shape[1]}x{rgb.shape[0]} is too small for the token-grid ratio: "
            f"with a period of {period} it needs at least {period + 1}x{period + 1}"
        )
    at_borders = beside = 0.0
    borders = 0
    for steps in _steps(grey_of(rgb, least=1)):
        for n in range(period, len(steps), period):
            at_borders += steps[n]
            beside += steps[_neighbours(n, period, len(steps))].mean()
            borders += 1
    least = _LEAST * borders
    return float((at_borders + least) / (beside + least))


class TokenGrid(Measure):
    """Steps at the borders of a transformer's tokens."""

    name = "token_grid"
    columns: tuple[Column, ...] = (Mean("token_grid_ratio", "Token-grid ratio", "lower", 3),)
    position = 50

    def __init__(self, period: int = PERIOD) -> None:
        self._period = period
        self.protocol = f"OpenCV grey; borders every {period} pixels, multiples of 8 beside them"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "TokenGrid":
        """With the period of the settings."""
        return cls(setup.settings.grid_period)

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture no larger than a token."""
        return Found({"token_grid_ratio": token_grid_ratio(picture.pixels, self._period)})


def _steps(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """d of columns `(W,)` and of rows `(H,)`; that at 0 is of no use."""
    height, width = grey.shape
    columns, rows = np.zeros(width), np.zeros(height)
    for top in range(0, height, _STRIP):
        # With the row above, which the first row of the strip is compared with.
        strip = grey[max(top - 1, 0) : top + _STRIP].astype(np.int16)
        own = strip[min(top, 1) :]
        columns[1:] += np.abs(np.diff(own, axis=1)).sum(0, dtype=np.int64)
        down = np.abs(np.diff(strip, axis=0)).sum(1, dtype=np.int64)
        rows[max(top, 1) : top + _STRIP] = down
    return columns / height, rows / width


def _neighbours(border: int, period: int, size: int) -> NDArray[np.intp]:
    """Positions that the border is compared with, in a picture of `size` pixels."""
    step = math.gcd(period, BLOCK)
    found = border + np.arange(-(_REACH // step), _REACH // step + 1) * step
    return found[(found > 0) & (found < size) & (found % period != 0)]
