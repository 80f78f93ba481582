"""Bootstrap intervals: what a statistic would be, had other rows of the same kind been drawn.

Rows (pictures, prompts, answers) are resampled with replacement, as many as there are. A draw is
written down as counts: how often each row came. A statistic is a function of many draws at once,

    counts (B, n) -> values (B,)

so a mean is `counts @ values / counts.sum(1)`, two statistics on the same counts are paired, and
rows that belong together (the answers of one person) are drawn together by giving them one count.

    percentile   the quantiles of the drawn values
    BCa          quantiles moved by the bias and the skewness of the statistic

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isnan
from typing import Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import UsageError

__all__ = [
    "Interval",
    "Statistic",
    "bootstrap",
    "drawn_values",
    "mean_of",
    "minus",
    "ratio_of_sums",
]

Statistic: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Counts `(B, n)` to values `(B,)`; NaN where a draw has no value, as a constant has no rank."""

_BLOCK = 1 << 22  # counts in memory at once


class IntervalJson(TypedDict):
    """An interval as JSON has it; None where a number is not known."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Interval:
    """A value and the bounds between which it lies at the requested level.

    The bounds are NaN where there are too few rows to know.
    """

    value: float
    low: float
    high: float

    def as_json(self) -> IntervalJson:
        """Its numbers; None for NaN, which JSON does not know."""
        return {
            "value": _known(self.value),
            "low": _known(self.low),
            "high": _known(self.high),
        }


def _known(number: float) -> float | None:
    return None if isnan(number) else number


def mean_of(values: ArrayLike) -> Statistic:
    """The mean of `values` `(n,)`."""
    array = np.asarray(values, np.float64)
    return lambda counts: counts @ array / counts.sum(1)


def ratio_of_sums(numerator: ArrayLike, denominator: ArrayLike) -> Statistic:
    """The sum of one column over the sum of another, both `(n,)`."""
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return lambda counts: (counts @ above) / (counts @ below)


def minus(first: Statistic, second: Statistic) -> Statistic:
    """The difference of two statistics of the same rows: a paired comparison."""
    return lambda counts: first(counts) - second(counts)


def bootstrap(
    statistic: Statistic,
    rows: int,
    *,
    clusters: ArrayLike | None = None,
    method: Literal["percentile", "bca"] = "percentile",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The value of `statistic` on all rows, and its bootstrap interval.

    Args:
        rows: how many there are.
        clusters: a label for each row; rows of one label are drawn together.
        resamples: draws.
        level: the probability with which the interval should hold the truth.

    Returns:
        Bounds that are NaN for fewer than two rows (or clusters), or where more than half of the
        draws have no value.

    Raises:
        UsageError: labels of another number than rows, no row, or a level not between 0 and 1.
    """
    if rows < 1:
        raise UsageError("a bootstrap of no rows: give at least one")
    if not 0 < level < 1:
        raise UsageError(f"level {level}: must lie between 0 and 1, for example 0.95")
    members = _members(rows, clusters)
    value = float(statistic(np.ones((1, rows)))[0])
    unknown = Interval(value, float("nan"), float("nan"))
    if members.max() == 0:
        return unknown
    # Without clusters the counts of the units are those of the rows, and need no copy.
    of_rows = slice(None) if clusters is None else members
    units, per_block = int(members.max()) + 1, max(1, _BLOCK // rows)
    drawn = drawn_values(
        lambda counts: statistic(counts[:, of_rows]), units, resamples, seed, per_block=per_block
    )
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) * 2 < resamples or np.isnan(value):
        return unknown
    outer = (1 - level) / 2
    shares = np.array([outer, 1 - outer])
    if method == "bca":
        shares = _bias_corrected(statistic, members, value, drawn, shares)
    if np.isnan(shares).any():
        return Interval(value, value, value)
    low, high = np.quantile(drawn, shares)
    return Interval(value, float(low), float(high))


def drawn_values(
    statistic: Statistic, units: int, resamples: int, seed: int, *, per_block: int | None = None
) -> NDArray[np.float64]:
    """The statistic on each of `resamples` draws of `units` from `units`, `(resamples,)`.

    Args:
        per_block: Draws whose counts are in memory at once; they do not depend on it.
    """
    per_block = per_block or max(1, _BLOCK // units)
    return np.concatenate(
        [statistic(counts) for counts in _draws(units, resamples, seed, per_block)]
    )


def _draws(units: int, resamples: int, seed: int, per_block: int) -> Iterator[NDArray[np.float64]]:
    """Counts of `resamples` draws of `units` from `units`, in blocks `(B, units)`."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, per_block):
        size = min(per_block, resamples - start)
        chosen = rng.integers(0, units, (size, units)) + np.arange(size)[:, None] * units
        counts = np.bincount(chosen.ravel(), minlength=size * units)
        yield counts.reshape(size, units).astype(np.float64)


def _members(rows: int, clusters: ArrayLike | None) -> NDArray[np.intp]:
    """The number of each row's cluster, from 0; without clusters each row is its own."""
    if clusters is None:
        return np.arange(rows)
    labels = np.asarray(clusters)
    if labels.shape != (rows,):
        raise UsageError(f"{labels.size} cluster labels for {rows} rows: give one for each row")
    return np.unique(labels, return_inverse=True)[1]


def _bias_corrected(
    statistic: Statistic,
    members: NDArray[np.intp],
    value: float,
    drawn: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The shares whose quantiles are the BCa bounds; NaN where all draws are alike."""
    from scipy.special import ndtr, ndtri

    units = int(members.max()) + 1
    # Half of the draws that equal the value count as below it.
    bias = ndtri(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    step = max(1, _BLOCK // len(members))
    without = np.concatenate(
        [
            statistic((np.arange(start, min(start + step, units))[:, None] != members) * 1.0)
            for start in range(0, units, step)
        ]
    )
    pull = np.nanmean(without) - without
    spread = np.nansum(pull**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        skew = np.nansum(pull**3) / (6 * spread**1.5) if spread else np.nan
        normal = bias + ndtri(shares)
        return np.asarray(ndtr(bias + normal / (1 - skew * normal)))
