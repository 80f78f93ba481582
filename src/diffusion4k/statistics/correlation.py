r"""How well two columns agree in order or in value: SRCC, PLCC, Kendall's tau-b, with intervals.

    PLCC     Pearson's r = cov(x, y) / (s_x s_y)
    SRCC     Pearson's r of the ranks, equal values sharing their mean rank
    tau-b    (concordant - discordant pairs) / sqrt(pairs untied in x * pairs untied in y)

Each is written for counts (see `bootstrap`): a row that came twice is two equal rows. Intervals are
bootstrap intervals over rows, or Fisher's: tanh(atanh r -+ z s) with the standard errors

    PLCC  1 / sqrt(n - 3)     SRCC  sqrt((1 + r^2 / 2) / (n - 3))     tau-b  sqrt(.437 / (n - 4))

Sources: Fisher 1921; Bonett and Wright, Psychometrika 65, 2000 (SRCC); Fieller, Hartley and
Pearson, Biometrika 44, 1957 (Kendall's tau).
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import UsageError
from diffusion4k.statistics.bootstrap import Interval, Statistic, bootstrap

__all__ = ["CORRELATIONS", "Method", "correlate", "kendall", "plcc", "srcc"]

Method = Literal["fisher", "percentile", "bca"]
Columns = tuple[NDArray[np.float64], NDArray[np.float64]]

_BLOCK = 1 << 22  # pairs in memory at once


def plcc(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's linear correlation of `(n,)` and `(n,)`; NaN if either is constant."""
    return _one(_pearson_of, x, y)


def srcc(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation of `(n,)` and `(n,)`; NaN if either is constant."""
    return _one(_spearman_of, x, y)


def kendall(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's tau-b of `(n,)` and `(n,)`; NaN if either is constant."""
    return _one(_kendall_of, x, y)


def correlate(
    kind: str,
    x: ArrayLike,
    y: ArrayLike,
    *,
    method: Method = "bca",
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """`srcc`, `plcc` or `kendall` of two columns `(n,)`, with its interval.

    Raises:
        UsageError: another kind, columns of different length, fewer than two rows, or values that
            are not finite.
    """
    if kind not in CORRELATIONS:
        raise UsageError(f"correlation {kind}: allowed are {', '.join(CORRELATIONS)}")
    columns = _checked(x, y)
    statistic = CORRELATIONS[kind](*columns)
    rows = len(columns[0])
    if method == "fisher":
        return _fisher(kind, float(statistic(np.ones((1, rows)))[0]), rows, level)
    return bootstrap(
        statistic,
        rows,
        clusters=clusters,
        method=method,
        level=level,
        resamples=resamples,
        seed=seed,
    )


def _one(of: Callable[..., Statistic], x: ArrayLike, y: ArrayLike) -> float:
    columns = _checked(x, y)
    return float(of(*columns)(np.ones((1, len(columns[0]))))[0])


def _checked(x: ArrayLike, y: ArrayLike) -> Columns:
    columns = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if columns[0].shape != columns[1].shape or columns[0].ndim != 1 or len(columns[0]) < 2:
        raise UsageError(
            f"columns of shapes {columns[0].shape} and {columns[1].shape}: a correlation takes two "
            "of equal length, at least 2"
        )
    if not np.isfinite(columns).all():
        raise UsageError("a correlation takes finite values: leave out the rows without a value")
    return columns


def _pearson_of(x: NDArray[np.float64], y: NDArray[np.float64]) -> Statistic:
    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return _weighted_pearson(counts, x[None], y[None])

    return statistic


def _spearman_of(x: NDArray[np.float64], y: NDArray[np.float64]) -> Statistic:
    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return _weighted_pearson(counts, _ranks(x, counts), _ranks(y, counts))

    return statistic


def _kendall_of(x: NDArray[np.float64], y: NDArray[np.float64]) -> Statistic:
    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        agreeing, in_x, in_y = np.zeros((3, len(counts)))
        step = max(1, _BLOCK // len(x))
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            order_x = np.sign(x[rows, None] - x)
            order_y = np.sign(y[rows, None] - y)
            here = counts[:, rows]
            agreeing += ((here @ (order_x * order_y)) * counts).sum(1)
            in_x += ((here @ np.abs(order_x)) * counts).sum(1)
            in_y += ((here @ np.abs(order_y)) * counts).sum(1)
        return _divided(agreeing, np.sqrt(in_x) * np.sqrt(in_y))

    return statistic


def _weighted_pearson(
    counts: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlation of `x` and `y` `(1 or B, n)` where row i came `counts[:, i]` times."""
    total = counts.sum(1, keepdims=True)
    # Rounding leaves a spread to a column that is constant in the draw: it is looked for exactly.
    constant = _is_constant(x, counts) | _is_constant(y, counts)
    x = x - (counts * x).sum(1, keepdims=True) / total
    y = y - (counts * y).sum(1, keepdims=True) / total
    product = (counts * x * y).sum(1)
    spread = np.sqrt((counts * x * x).sum(1)) * np.sqrt((counts * y * y).sum(1))
    return np.clip(_divided(product, np.where(constant, 0, spread)), -1, 1)


def _is_constant(x: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    lowest = np.where(counts > 0, x, np.inf).min(1)
    return np.asarray(lowest == np.where(counts > 0, x, -np.inf).max(1))


def _ranks(values: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each row's value in each draw `(B, n)`, equal values sharing their mean rank."""
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    per_group = np.add.reduceat(counts[:, order], starts, axis=1)
    mean_rank = per_group.cumsum(1) - (per_group - 1) / 2
    return mean_rank[:, group]


def _divided(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _fisher(kind: str, value: float, rows: int, level: float) -> Interval:
    from scipy.special import ndtri

    lost = 4 if kind == "kendall" else 3
    if rows <= lost or math.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    if abs(value) == 1:
        return Interval(value, value, value)
    variance = {"plcc": 1.0, "srcc": 1 + value**2 / 2, "kendall": 0.437}[kind]
    reach = float(ndtri((1 + level) / 2)) * math.sqrt(variance / (rows - lost))
    centre = math.atanh(value)
    return Interval(value, math.tanh(centre - reach), math.tanh(centre + reach))


CORRELATIONS: Mapping[str, Callable[..., Statistic]] = {
    "srcc": _spearman_of,
    "plcc": _pearson_of,
    "kendall": _kendall_of,
}
"""The statistic of two columns, by name."""
