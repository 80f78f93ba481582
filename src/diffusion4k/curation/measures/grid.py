"""The 8-pixel grid of JPEG blocks, as steps between columns or rows betray it."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "grid_phase", "grid_strength", "without_trend"]

BLOCK = 8
_TREND = 24
"""Positions that a step is compared with: whole periods of 2, 3, 4 and 8."""
_LEAST = 0.05
"""Grey values added to both steps of a ratio, as those of a flat picture are all but nil."""


def without_trend(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each step over the mean of the 24 around it: 1 where nothing is special."""
    from scipy.ndimage import uniform_filter1d

    trend = uniform_filter1d(profile, _TREND, mode="nearest")
    return (profile + _LEAST) / (trend + _LEAST)


def grid_phase(profile: NDArray[np.float64]) -> int:
    """Position modulo 8 of the largest steps; 7 if the blocks begin at the picture's edge."""
    return int(_by_phase(without_trend(profile)).argmax()) if len(profile) >= BLOCK else BLOCK - 1


def grid_strength(profile: NDArray[np.float64]) -> float:
    """Typical step on the grid over that of the other positions; 1 without a grid."""
    if len(profile) < BLOCK:
        return 1.0
    *others, largest = np.sort(_by_phase(without_trend(profile)))
    return float(largest / np.median(others))


def _by_phase(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([np.median(relative[k::BLOCK]) for k in range(BLOCK)])
