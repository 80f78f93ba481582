"""How far the pixels of an image are from those of its original: PSNR and NMSE."""

import math

import numpy as np

from diffusion4k.errors import UsageError
from diffusion4k.metrics.images import ImageLike, as_array

__all__ = ["nmse", "psnr"]


def psnr(image: ImageLike, original: ImageLike) -> float:
    """Peak signal-to-noise ratio in dB, `10 log10(255^2 / MSE)`; infinite for equal images.

    Raises:
        UsageError: sizes that differ.
    """
    squares, _, count = _sums(image, original)
    return 10 * math.log10(255**2 * count / squares) if squares else math.inf


def nmse(image: ImageLike, original: ImageLike) -> float:
    """Normalised mean squared error, `sum (x - y)^2 / sum y^2` of values 0 to 255; y the original.

    Papers normalise in several ways: compare only with values of this definition.

    Raises:
        UsageError: sizes that differ.
    """
    squares, power, _ = _sums(image, original)
    return squares / power if power else (math.inf if squares else 0.0)


def _sums(image: ImageLike, original: ImageLike) -> tuple[int, int, int]:
    """Sum of squared differences, sum of squares of the original, count: whole numbers, exact."""
    x, y = as_array(image), as_array(original)
    if x.shape != y.shape:
        raise UsageError(
            f"images of {x.shape[1]}x{x.shape[0]} and {y.shape[1]}x{y.shape[0]}: they must have "
            "the same size"
        )
    squares = power = 0
    for a, b in zip(x, y, strict=True):
        squares += int(np.square(a.astype(np.int64) - b).sum())
        power += int(np.square(b.astype(np.int64)).sum())
    return squares, power, x.size
