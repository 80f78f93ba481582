r"""Fréchet distance between two sets of features, each taken for a Gaussian.

    d^2 = |m_a - m_b|^2 + tr S_a + tr S_b - 2 tr (S_a S_b)^(1/2)

With the centred features X (rows are samples) S = X^T X / (n - 1), and the last trace is the sum of
the singular values of X_a X_b^T / sqrt((n_a - 1)(n_b - 1)): the non-zero eigenvalues of S_a S_b are
their squares. That needs no matrix square root, works for singular covariances (fewer samples than
dimensions) and never leaves the reals. Where there are more samples than dimensions, X is replaced
by its QR factor R, as R^T R = X^T X.

The value always belongs to one feature extractor and one pre-processing; `features` names both.
Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500).
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import Diffusion4kError

__all__ = ["FewSamplesWarning", "frechet_distance"]


class FewSamplesWarning(UserWarning):
    """There are too few samples for the dimension: the distance comes out too high."""


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Squared Fréchet distance d^2 >= 0 between features `(N_a, D)` and `(N_b, D)`.

    With N <= D the covariance is singular and the distance biased upwards, the more the fewer the
    samples: compare only values of equal N. A `FewSamplesWarning` says so. Raises
    `Diffusion4kError` for other shapes, fewer than two samples, or values that are not finite.
    """
    a, b = _checked(features_a, "first"), _checked(features_b, "second")
    if a.shape[1] != b.shape[1]:
        raise Diffusion4kError(
            f"features of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared: "
            "use one extractor for both sets"
        )
    fewest = min(len(a), len(b))
    if fewest <= a.shape[1]:
        warnings.warn(
            f"{fewest} samples of {a.shape[1]} dimensions: the Fréchet distance is biased upwards "
            "and comparable only with values from as many samples",
            FewSamplesWarning,
            stacklevel=2,
        )
    shift = a.mean(axis=0) - b.mean(axis=0)
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    mixed = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    spread = np.square(root_a).sum() + np.square(root_b).sum() - 2 * mixed
    # Rounding may leave equal sets a hair below zero.
    return max(0.0, float(shift @ shift + spread))


def _covariance_root(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix R with at most D rows and R^T R the (unbiased) covariance of `features`."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    return np.asarray(np.linalg.qr(centred, mode="r"))


def _checked(features: ArrayLike, which: str) -> NDArray[np.float64]:
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) < 2 or not array.shape[1]:
        raise Diffusion4kError(
            f"the {which} features have shape {array.shape}: the Fréchet distance takes (N, D) "
            "with at least two samples"
        )
    if not np.isfinite(array).all():
        raise Diffusion4kError(
            f"the {which} features hold values that are not finite: look for broken images"
        )
    return array
