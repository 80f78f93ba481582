"""Noise: the standard deviation of what is random in the grey values, in smooth regions.

Of each tile of 64x64 pixels the median magnitude of the diagonal Haar detail `(a - b - c + d) / 2`
is taken; over 0.6745 it is the standard deviation if the detail is Gaussian noise. Texture only
adds to it, so the value that a tenth of the tiles stay below is taken for the picture's. Tiles of
a mean below 24 or above 231 are left out, as clipping hides the noise there.

Source: Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika 1994.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["MEASURES", "noise_sigma"]

MEASURES = {
    "noise": "standard deviation of the noise, in grey values of 0 to 255 (less is better)",
}
TILE = 64
DARK, BRIGHT = 24, 231
LOWEST = 10  # percent of the tiles
GAUSSIAN = 0.6745  # median magnitude of a standard normal


def noise_sigma(grey: NDArray[np.uint8]) -> float:
    """The standard deviation of a grey picture `(H, W)`; NaN if it is smaller than a tile."""
    from diffusion4k.curation.measures._kernels import diagonal_medians

    rows, columns = grey.shape[0] // TILE, grey.shape[1] // TILE
    if not rows * columns:
        return float("nan")
    medians, means = np.empty((rows, columns)), np.empty((rows, columns))
    diagonal_medians(grey, TILE, medians, means)
    middling = (means >= DARK) & (means <= BRIGHT)
    return float(np.percentile(medians[middling] if middling.any() else medians, LOWEST)) / GAUSSIAN
