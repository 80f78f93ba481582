"""Structural similarity, of images of any size in bounded memory.

The protocol of Wang et al. 2004, as scikit-image computes it with `gaussian_weights=True,
sigma=1.5, use_sample_covariance=False, data_range=255` per colour channel: an 11x11 Gaussian
window, K1 = .01, K2 = .03, mean over all pixels at least five from the border, and over the
channels. Rows are taken in strips with the five rows around them that the window needs.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import UsageError
from diffusion4k.metrics.images import ImageLike, as_array

__all__ = ["ssim"]

_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_ROWS = 256
_THREADS = 4


def ssim(image: ImageLike, reference: ImageLike) -> float:
    """SSIM of two RGB images of one size, 1 for equal ones.

    Raises:
        UsageError: sizes that differ, or below 11 pixels.
    """
    a, b = as_array(image), as_array(reference)
    height, width = a.shape[:2]
    least = 2 * _RADIUS + 1
    if a.shape != b.shape or min(height, width) < least:
        raise UsageError(
            f"images of {a.shape[1]}x{a.shape[0]} and {b.shape[1]}x{b.shape[0]}: SSIM takes two of "
            f"one size, at least {least}x{least}"
        )
    tops = range(_RADIUS, height - _RADIUS, _ROWS)

    def strip(top: int) -> float:
        rows = slice(top - _RADIUS, min(top + _ROWS, height - _RADIUS) + _RADIUS)
        return _sum(a[rows].astype(np.float64), b[rows].astype(np.float64))

    with ThreadPoolExecutor(_THREADS) as pool:
        total = sum(pool.map(strip, tops))
    return total / (3 * (height - 2 * _RADIUS) * (width - 2 * _RADIUS))


def _sum(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Sum over the pixels that have a whole window, and over the channels."""
    mean_a, mean_b = _window(a), _window(b)
    product = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    covariance = _window(a * b) - product
    variances = _window(a * a) + _window(b * b) - squares
    similarity = (2 * product + _C1) * (2 * covariance + _C2)
    similarity /= (squares + _C1) * (variances + _C2)
    return float(similarity.sum())


def _window(x: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter1d

    for axis in (0, 1):
        x = gaussian_filter1d(x, _SIGMA, axis=axis, radius=_RADIUS)
    return x[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
