"""OpenCV's grey value of a pixel, for compiled loops."""

import numpy as np
from numba import njit

__all__ = ["grey_of_pixel"]


@njit(nogil=True)
def grey_of_pixel(red: np.integer, green: np.integer, blue: np.integer) -> np.uint32:
    """`0.299 R + 0.587 G + 0.114 B`, 0 to 255, in OpenCV's 15-bit fixed point, rounded."""
    weighed = (
        np.uint32(red) * np.uint32(9798)
        + np.uint32(green) * np.uint32(19235)
        + np.uint32(blue) * np.uint32(3735)
    )
    return np.uint32((weighed + np.uint32(16384)) >> np.uint32(15))
