"""Features of a whole folder as one array, for distances that compare all with all."""

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.metrics.measure import Features

__all__ = ["check_pair", "frechet_of_folders", "stacked"]


def stacked(features: Features) -> NDArray[np.float32]:
    """`(N, D)`: the rows of all pictures, one under the other.

    Raises:
        Diffusion4kError: there are none.
    """
    arrays = list(features)
    if not arrays:
        raise Diffusion4kError("a folder without features has no distance from another")
    return np.concatenate(arrays)


def frechet_of_folders(a: Features, b: Features) -> float:
    """`frechet_distance` of two folders; a `FewSamplesWarning` says when they are small."""
    return frechet_distance(a, b)


def check_pair(a: NDArray, b: NDArray, least: int) -> None:
    """Refuse sets of features that cannot be compared.

    Raises:
        Diffusion4kError: other shapes than `(N, D)` of one D, less than `least` samples, or values
            that are not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < least:
        raise Diffusion4kError(
            f"features of shapes {a.shape} and {b.shape}: the distance takes (N, D) of one "
            f"extractor with at least {least} samples each"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise Diffusion4kError("features that are not finite: look for broken images or weights")
