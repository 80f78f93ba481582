r"""Intervals for shares of answers that belong together: by the same person, about the same prompt.

Answers of one person are alike, and so are answers about one prompt: a thousand answers of ten
people are not a thousand independent ones. What the mean p of scores y in [0, 1] owes to chance:

    one-way    V = G / (G - 1) sum_g S_g^2 / n^2,    S_g = sum of y - p within the cluster g
    two-way    V = V_people + V_prompts - V_cells

G is the number of clusters; a cell is what one person said about one prompt. The interval is taken
on the scale of log-odds, where it is nearer to symmetric and never leaves [0, 1]:

    logit(p) -+ t sqrt(V) / (p (1 - p))

    degrees of freedom: G - 1; two-way by Satterthwaite's rule,
    V^2 / (V_people^2 / (G_people - 1) + V_prompts^2 / (G_prompts - 1))

V is at least V_cells, and if it is that, neither people nor prompts matter, and there are as many
degrees of freedom as cells, less one.

Where all answers are equal, V says nothing: the interval is Wilson's for as many answers as there
are clusters. So it is for answers that do not belong together.

The cluster bootstrap draws whole clusters (`statistics.bootstrap`). Its percentiles are too narrow
for few clusters; they are taken so much further out as t and the factor sqrt(G / (G - 1)) demand.

Sources: Cameron, Gelbach and Miller, J. Bus. Econ. Stat. 29, 2011 (two-way); Satterthwaite,
Biometrics Bull. 2, 1946; Hesterberg, Am. Stat. 69, 2015 (percentiles).
"""

from collections.abc import Sequence
from math import exp, log, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import UsageError
from diffusion4k.statistics.bootstrap import Interval, bootstrap, ratio_of_sums

__all__ = ["FEWEST", "cluster_bootstrap", "clustered_share", "clustered_variance"]

FEWEST = 5
"""Clusters below which no interval is given: its width would rest on next to nothing."""

Labels = NDArray[np.intp]


def clustered_share(
    scores: ArrayLike, clusterings: Sequence[ArrayLike], *, level: float = 0.95
) -> Interval:
    """The mean of scores `(n,)` in [0, 1], and its interval.

    Arguments:
        clusterings: of each kind a label for each score; none, one or two kinds.

    Returns:
        Bounds that are NaN where a kind has fewer than `FEWEST` clusters.

    Raises:
        UsageError: no scores, labels of another number, or more than two kinds.
    """
    y = _checked(scores)
    share = float(y.mean())
    groups = [_numbered(labels, len(y)) for labels in clusterings or [np.arange(len(y))]]
    counts = [int(group.max()) + 1 for group in groups]
    if min(counts) < (FEWEST if clusterings else 1):
        return Interval(share, nan, nan)
    if not clusterings:
        return _wilson(share, len(y), _normal(level))
    variance, freedom = clustered_variance((y - share)[:, None] / len(y), groups)
    if not variance[0] > 0:
        return _wilson(share, min(counts), _student(min(counts) - 1, level))
    reach = _student(float(freedom[0]), level) * sqrt(float(variance[0])) / (share * (1 - share))
    odds = log(share / (1 - share))
    return Interval(share, _share(odds - reach), _share(odds + reach))


def cluster_bootstrap(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of scores `(n,)` in [0, 1] and its bootstrap interval, clusters drawn as a whole.

    Bounds are NaN for fewer than `FEWEST` clusters. Where all scores are equal, every draw is the
    same, and the interval is Wilson's for as many answers as there are clusters.
    """
    y = _checked(scores)
    group = _numbered(labels, len(y))
    count = int(group.max()) + 1
    share = float(y.mean())
    if count < FEWEST:
        return Interval(share, nan, nan)
    t = _student(count - 1, level)
    if np.ptp(y) == 0:
        return _wilson(share, count, t)
    from scipy.special import ndtr

    wider = 2 * float(ndtr(t * sqrt(count / (count - 1)))) - 1
    mean = ratio_of_sums(np.bincount(group, y), np.bincount(group))
    return bootstrap(mean, count, level=wider, resamples=resamples, seed=seed)


def clustered_variance(
    influence: NDArray[np.float64], groups: Sequence[ArrayLike]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance and degrees of freedom of k estimates, each `(k,)`.

    Arguments:
        influence: `(n, k)`: by how much each answer moves each estimate; columns sum to 0.
        groups: one or two clusterings, a label `(n,)` for each answer.
    """
    numbered = [_numbered(labels, len(influence)) for labels in groups]
    parts = [_one_way(influence, group) for group in numbered]
    variance = np.sum([part for part, _ in parts], axis=0)
    lost = np.sum([part**2 / freedom for part, freedom in parts], axis=0)
    least = min(freedom for _, freedom in parts)
    if len(groups) == 2:
        first, second = numbered
        cells, count = _one_way(
            influence, _numbered(first * (second.max() + 1) + second, len(first))
        )
        cells = cells * count / (count + 1)
        difference = variance - cells
        with np.errstate(invalid="ignore", divide="ignore"):
            freedom = np.where(lost > 0, difference**2 / lost, least)
        # Never below what the cells alone leave to chance: then neither people nor prompts matter.
        alone = difference <= cells
        variance = np.where(alone, cells, difference)
        return variance, np.where(alone, count, np.maximum(freedom, least))
    return variance, np.full_like(variance, least)


def _one_way(influence: NDArray[np.float64], group: Labels) -> tuple[NDArray[np.float64], int]:
    """Variance by one clustering `(k,)`, and its degrees of freedom."""
    count = int(group.max()) + 1
    sums = np.stack([np.bincount(group, column) for column in influence.T], axis=1)
    return count / (count - 1) * (sums**2).sum(0), count - 1


def _checked(scores: ArrayLike) -> NDArray[np.float64]:
    y = np.asarray(scores, np.float64)
    if y.ndim != 1 or not len(y) or not ((y >= 0) & (y <= 1)).all():
        raise UsageError(f"scores of shape {y.shape}: allowed are at least one, each in [0, 1]")
    return y


def _numbered(labels: ArrayLike, rows: int) -> Labels:
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise UsageError(f"{array.size} cluster labels for {rows} answers: give one for each")
    return np.unique(array, return_inverse=True)[1]


def _wilson(share: float, number: float, quantile: float) -> Interval:
    square = quantile**2 / number
    reach = quantile * sqrt(share * (1 - share) / number + square / (4 * number))
    low, high = ((share + square / 2 + side * reach) / (1 + square) for side in (-1, 1))
    return Interval(share, max(low, 0.0), min(high, 1.0))


def _share(log_odds: float) -> float:
    return 1 / (1 + exp(-log_odds)) if log_odds > -500 else 0.0


def _normal(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def _student(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))
