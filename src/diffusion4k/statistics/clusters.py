r"""Intervals for shares of answers that belong together: by the same person, about the same prompt.

Answers of one person are alike, and so are answers about one prompt: a thousand answers of ten
people are not a thousand independent ones. What the mean p of scores y in [0, 1] owes to chance:

    one-way    V = G / (G - 1) sum_g S_g^2 / n^2,    S_g = sum of y - p within the cluster g
    two-way    V = V_people + V_prompts - V_cells

G is the number of clusters; a cell is what one person said about one prompt. The interval is taken
on the scale of log-odds, where it is nearer to symmetric and never leaves [0, 1]:

    logit(p) -+ t sqrt(V) / (p (1 - p))

with G - 1 degrees of freedom, of two kinds the lesser G. V is at least V_cells; if it is that,
neither people nor prompts matter, and there are as many degrees of freedom as cells, less one.

Where all answers are equal, V says nothing: the interval is Wilson's for as many answers as there
are clusters. So it is for answers that do not belong together.

The cluster bootstrap resamples whole clusters, as many as there are, and takes the standard
deviation of the log-odds over the draws in place of sqrt(V) / (p (1 - p)). Drawn clusters vary less
than clusters do, by (G - 1) / G, which is made good. Percentiles of the draws would be too narrow
for few clusters, and quantiles of studentised draws wild.

Sources: Cameron, Gelbach and Miller, J. Bus. Econ. Stat. 29, 2011 (two-way); Efron and Tibshirani,
An Introduction to the Bootstrap, 1993, chapters 6 and 12.
"""

from collections.abc import Sequence
from math import exp, log, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import UsageError
from diffusion4k.statistics.bootstrap import Interval, drawn_values, ratio_of_sums
from diffusion4k.statistics.proportions import wilson, wilson_around

__all__ = ["FEWEST", "cluster_bootstrap", "clustered_share", "clustered_variance"]

FEWEST = 5
"""Clusters below which no interval is given: its width would rest on next to nothing."""

_NONE = 1e-9  # what rounding leaves of equal clusters

Array = NDArray[np.float64]
Labels = NDArray[np.intp]


def clustered_share(
    scores: ArrayLike, clusterings: Sequence[ArrayLike], *, level: float = 0.95
) -> Interval:
    """The mean of scores `(n,)` in [0, 1], and its interval.

    Args:
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
        return wilson(float(y.sum()), len(y), level)
    variance, freedom = clustered_variance((y - share)[:, None] / len(y), groups)
    if not variance[0] > 0:
        return wilson_around(share, min(counts), _student(min(counts) - 1, level))
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
    sums, sizes = (np.bincount(group, each).astype(float) for each in (y, np.ones(len(y))))
    drawn = drawn_values(ratio_of_sums(sums, sizes), count, resamples, seed)
    drawn = drawn[(drawn > 0) & (drawn < 1)]  # Others have no log-odds.
    spread = float(np.std(np.log(drawn / (1 - drawn)))) if len(drawn) * 2 > resamples else 0.0
    t = _student(count - 1, level)
    if spread < _NONE or not 0 < share < 1:
        return wilson_around(share, count, t)
    odds, reach = log(share / (1 - share)), t * spread * sqrt(count / (count - 1))
    return Interval(share, _share(odds - reach), _share(odds + reach))


def clustered_variance(influence: Array, groups: Sequence[ArrayLike]) -> tuple[Array, Array]:
    """Variance and degrees of freedom of k estimates, each `(k,)`.

    Args:
        influence: `(n, k)`: by how much each answer moves each estimate; columns sum to 0.
        groups: one or two clusterings, a label `(n,)` for each answer.
    """
    numbered = [_numbered(labels, len(influence)) for labels in groups]
    parts = [_one_way(influence, group) for group in numbered]
    variance = np.sum([part for part, _ in parts], axis=0)
    least = min(freedom for _, freedom in parts)
    if len(groups) == 1:
        return variance, np.full_like(variance, least)
    first, second = numbered
    cells, freedom = _one_way(influence, _numbered(first * (second.max() + 1) + second, len(first)))
    cells = cells * freedom / (freedom + 1)
    alone = variance - cells <= cells
    return np.where(alone, cells, variance - cells), np.where(alone, freedom, least)


def _one_way(influence: Array, group: Labels) -> tuple[Array, int]:
    """Variance by one clustering `(k,)`, and its degrees of freedom."""
    count = int(group.max()) + 1
    sums = np.stack([np.bincount(group, column) for column in influence.T], axis=1)
    return count / (count - 1) * (sums**2).sum(0), count - 1


def _checked(scores: ArrayLike) -> Array:
    y = np.asarray(scores, np.float64)
    if y.ndim != 1 or not len(y) or not ((y >= 0) & (y <= 1)).all():
        raise UsageError(f"scores of shape {y.shape}: allowed are at least one, each in [0, 1]")
    return y


def _numbered(labels: ArrayLike, rows: int) -> Labels:
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise UsageError(f"{array.size} cluster labels for {rows} answers: give one for each")
    return np.unique(array, return_inverse=True)[1]


def _share(log_odds: float) -> float:
    return 1 / (1 + exp(-log_odds)) if log_odds > -500 else 0.0


def _student(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))
