r"""KID: the kernel distance of two sets of features, unbiased for few samples.

    KID = MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),    k(a, b) = (a.b / D + 1)^3

where x, x' are two different pictures of one folder and y, y' of the other (the unbiased estimate
of Gretton et al. 2012, for sets of one size). Mean and standard deviation over random subsets, 100
of 1000 as in torchmetrics. With fewer pictures a subset has as many as the smaller folder; where
both are of that size there is only one subset and no deviation. Unlike FID it does not grow as
samples get fewer, only less certain; it can be below zero.

Source: Bińkowski et al., arXiv 1801.01401. The features are those of `fid`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.metrics.measure import Features, check_pair, stacked

__all__ = ["Kid", "kid", "kid_of_folders"]

_TIMES = 1000  # papers print KID in thousandths


@dataclass(frozen=True)
class Kid:
    """Mean and (population) standard deviation over the subsets."""

    mean: float
    std: float


def kid(
    features_a: ArrayLike,
    features_b: ArrayLike,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> Kid:
    """KID of features `(N_a, D)` and `(N_b, D)`.

    Raises:
        Diffusion4kError: shapes that do not fit, fewer than two samples, or values not finite.
    """
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    check_pair(a, b, 2)
    size = min(len(a), len(b), subset_size)
    if len(a) == len(b) == size:
        subsets = 1
    draw = np.random.default_rng(seed)
    found = [
        _mmd(
            a[draw.choice(len(a), size, replace=False)], b[draw.choice(len(b), size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return Kid(float(np.mean(found)), float(np.std(found)))


def kid_of_folders(a: Features, b: Features) -> float:
    """A thousand times the mean KID of two folders."""
    return _TIMES * kid(stacked(a), stacked(b)).mean


def _mmd(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased, of two sets of one size."""
    count = len(x)
    within = sum(_kernel(z, z).sum() - _kernel_with_itself(z).sum() for z in (x, y))
    return float(within / (count * (count - 1)) - 2 * _kernel(x, y).mean())


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)


def _kernel_with_itself(a: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((np.square(a).sum(1) / a.shape[1] + 1) ** 3)
