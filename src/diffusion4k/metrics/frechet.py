r"""Fréchet distance between two sets of features, each taken for a Gaussian.

    d^2 = |m_a - m_b|^2 + tr S_a + tr S_b - 2 tr (S_a S_b)^(1/2)

With the centred features X (rows are samples) S = X^T X / (n - 1), and the last trace is the sum of
the singular values of X_a X_b^T / sqrt((n_a - 1)(n_b - 1)): the non-zero eigenvalues of S_a S_b are
their squares. That needs no matrix square root, works for singular covariances (fewer samples than
dimensions) and never leaves the reals.

Of a stream of features only the count n, the mean m and a matrix R of at most D rows with
R^T R = X^T X are kept. Rows are gathered until there are as many as R may have. Then, with b of
them and their mean m_b,

    R <- QR factor of [R; X_b - m_b; sqrt(n b / (n + b)) (m_b - m)]

which is the centred matrix of all n + b. Other than a sum of outer products it squares nothing, so
that small variances beside great ones keep their digits, which the square root would magnify.

The value always belongs to one feature extractor and one pre-processing; `features` names both.
Sources: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500); the update: Chan, Golub,
LeVeque 1983.
"""

import warnings
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.wording import counted

__all__ = ["FewSamplesWarning", "Gaussian", "distance_between", "frechet_distance"]


class FewSamplesWarning(UserWarning):
    """There are too few samples for the dimension: the distance comes out too high."""


def frechet_distance(
    features_a: ArrayLike | Iterable[ArrayLike], features_b: ArrayLike | Iterable[ArrayLike]
) -> float:
    """Squared Fréchet distance d^2 >= 0 between features `(N_a, D)` and `(N_b, D)`.

    Either side is one array, or an iterable of arrays `(n, D)`, such as one per picture, of which
    but a few are in memory at a time.

    With N <= D the covariance is singular and the distance biased upwards, the more the fewer the
    samples: compare only values of equal N. A `FewSamplesWarning` says so. Raises
    `Diffusion4kError` for other shapes, fewer than two samples, or values that are not finite.
    """
    return distance_between(Gaussian(features_a, "first"), Gaussian(features_b, "second"))


class Gaussian:
    """Count, mean and covariance of features that come in pieces; `which` names them in errors.

    Raises:
        Diffusion4kError: pieces that are not `(n, D)` of one D, or hold values that are not finite.
    """

    def __init__(self, features: ArrayLike | Iterable[ArrayLike], which: str = "given") -> None:
        self.count = 0
        self._which = which
        self._mean: NDArray[np.float64] = np.empty(0)
        self._root: NDArray[np.float64] = np.empty((0, 0))
        self._waiting: list[NDArray[np.float64]] = []
        for piece in _pieces(features):
            self._add(piece)
        self._fold()

    @property
    def dimension(self) -> int:
        """D, or 0 without any sample."""
        return len(self._mean)

    @property
    def mean(self) -> NDArray[np.float64]:
        """`(D,)`."""
        return self._mean

    def covariance_root(self) -> NDArray[np.float64]:
        """R with at most D rows; R^T R is the unbiased covariance."""
        return self._root / np.sqrt(self.count - 1)

    def _add(self, piece: ArrayLike) -> None:
        rows = np.asarray(piece, dtype=np.float64)
        dimension = self._waiting[0].shape[1] if self._waiting else self.dimension
        if rows.ndim != 2 or not rows.shape[1] or dimension not in (0, rows.shape[1]):
            besides = f" beside {dimension} dimensions" if dimension else ""
            raise Diffusion4kError(
                f"the {self._which} features have shape {rows.shape}{besides}: the Fréchet "
                "distance takes (N, D) with at least two samples"
            )
        if not np.isfinite(rows).all():
            raise Diffusion4kError(
                f"the {self._which} features hold values that are not finite: look for broken "
                "images"
            )
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= 2 * rows.shape[1]:
            self._fold()

    def _fold(self) -> None:
        rows = np.concatenate(self._waiting) if self._waiting else np.empty((0, 0))
        self._waiting = []
        if not len(rows):
            return
        mean = rows.mean(axis=0)
        rows -= mean
        if self.count:
            step = mean - self._mean
            whole = self.count + len(rows)
            link = np.sqrt(self.count * len(rows) / whole) * step
            mean = self._mean + step * (len(rows) / whole)
            self.count, rows = whole, np.concatenate([self._root, rows, link[None]])
        else:
            self.count = len(rows)
        self._mean = mean
        self._root = rows if len(rows) <= len(mean) else np.asarray(np.linalg.qr(rows, mode="r"))


def distance_between(a: Gaussian, b: Gaussian) -> float:
    """`frechet_distance` of features that are gathered already; warns and raises as it does."""
    for side, which in ((a, "first"), (b, "second")):
        if side.count < 2:
            raise Diffusion4kError(
                f"the {which} features hold {counted(side.count, 'sample')}: the Fréchet "
                "distance takes "
                "(N, D) with at least two samples"
            )
    if a.dimension != b.dimension:
        raise Diffusion4kError(
            f"features of {a.dimension} and {b.dimension} dimensions cannot be compared: "
            "use one extractor for both sets"
        )
    fewest = min(a.count, b.count)
    if fewest <= a.dimension:
        warnings.warn(
            f"{counted(fewest, 'sample')} of {a.dimension} dimensions: the Fréchet distance "
            "is biased upwards "
            "and comparable only with values from as many samples",
            FewSamplesWarning,
            stacklevel=3,
        )
    shift = a.mean - b.mean
    root_a, root_b = a.covariance_root(), b.covariance_root()
    mixed = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    spread = np.square(root_a).sum() + np.square(root_b).sum() - 2 * mixed
    # Rounding may leave equal sets a hair below zero.
    return max(0.0, float(shift @ shift + spread))


def _pieces(features: ArrayLike | Iterable[ArrayLike]) -> Iterator[ArrayLike]:
    """The pieces themselves, or those of one array, which need not be copied whole."""
    if not hasattr(features, "__array__"):
        yield from features  # type: ignore[misc]
        return
    array = np.asarray(features)
    size = 2 * array.shape[1] if array.ndim == 2 else 0
    yield from (array[n : n + size] for n in range(0, len(array), size)) if size else [array]
