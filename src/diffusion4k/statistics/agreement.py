r"""Do raters agree? Krippendorff's alpha, and each rater against the mean of the others.

    alpha = 1 - D_o / D_e

D_o is the mean difference of two ratings of the same unit, D_e that of two ratings taken from
anywhere; alpha is 1 if raters agree, 0 if they might as well draw ratings from a hat, and below 0
if they disagree on purpose. A rating that is missing is simply not there; a unit with one rating
cannot be compared and does not count.

The difference of two ratings is, by the level of measurement,

    nominal    1 unless they are equal
    ordinal    the square of how many ratings lie between them: of the difference of their ranks
    interval   the square of their difference

so that ordinal is interval with each value replaced by its mean rank among all ratings. With m
values r in a unit, the squares of all m^2 differences sum to 2 (m sum r^2 - (sum r)^2): no matrix
of coincidences is needed. Source: Krippendorff, Content Analysis, 3rd edition 2013, chapter 12.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion4k.errors import UsageError
from diffusion4k.statistics.bootstrap import Interval, Statistic, bootstrap
from diffusion4k.statistics.correlation import srcc

__all__ = ["Level", "against_others", "krippendorff_alpha"]

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    ratings: ArrayLike,
    level: Level = "ordinal",
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Alpha of ratings `(raters, units)`, NaN where there is none, with its 95% interval.

    Values are numbers; for `nominal` any that stand for categories. The interval is a bootstrap
    over units. NaN where no unit has two ratings or all ratings are equal.

    Raises:
        UsageError: another shape or level, or infinite ratings.
    """
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise UsageError(
            f"ratings of shape {table.shape}: alpha takes (raters, units), finite or NaN"
        )
    if level not in ("nominal", "ordinal", "interval"):
        raise UsageError(f"level {level}: allowed are nominal, ordinal and interval")
    table = table[:, (~np.isnan(table)).sum(0) > 1]
    if not table.size:
        return Interval(*[float("nan")] * 3)
    return bootstrap(_alpha_of(table, level), table.shape[1], resamples=resamples, seed=seed)


def against_others(ratings: ArrayLike) -> list[tuple[float, int]]:
    """SRCC of each rater with the mean of all others, and the units it rests on.

    Ratings are `(raters, units)`, NaN where there is none. The SRCC is NaN for fewer than three
    units, or where either side is constant.
    """
    table = np.asarray(ratings, np.float64)
    given = ~np.isnan(table)
    found = []
    for rater in range(len(table)):
        rest = np.delete(table, rater, axis=0)
        units = given[rater] & np.delete(given, rater, axis=0).any(0)
        count = int(units.sum())
        if count < 3:
            found.append((float("nan"), count))
        else:
            found.append((srcc(table[rater, units], np.nanmean(rest[:, units], axis=0)), count))
    return found


def _alpha_of(table: NDArray[np.float64], level: Level) -> Statistic:
    """Alpha as a function of how often each unit came."""
    values, place = np.unique(table[~np.isnan(table)], return_inverse=True)
    unit = np.broadcast_to(np.arange(table.shape[1]), table.shape)[~np.isnan(table)]
    per_unit = np.zeros((table.shape[1], len(values)))
    np.add.at(per_unit, (unit, place), 1)  # ratings of each value in each unit
    size = per_unit.sum(1)

    def squares(numbers: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half the sum of all squared differences: `numbers` `(V, B)` of the values, per row."""
        if level == "nominal":
            return (row.sum(1) ** 2 - (row**2).sum(1))[:, None] / 2
        return row.sum(1)[:, None] * (row @ numbers**2) - (row @ numbers) ** 2

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        margins = counts @ per_unit  # (B, V)
        total = margins.sum(1)
        alphas = np.full(len(counts), np.nan)
        if level == "ordinal":
            numbers = margins.cumsum(1) - margins / 2  # (B, V), mean ranks
            observed = (counts * (squares(numbers.T, per_unit) / (size - 1)[:, None]).T).sum(1)
            expected = total * (margins * numbers**2).sum(1) - (margins * numbers).sum(1) ** 2
        else:
            # Centred, for the difference of two large numbers would lose digits.
            numbers = (values - values.mean())[:, None]
            observed = counts @ (squares(numbers, per_unit)[:, 0] / (size - 1))
            expected = squares(numbers, margins)[:, 0]
        spread = (margins > 0).sum(1) > 1
        alphas[spread] = 1 - (total[spread] - 1) * observed[spread] / expected[spread]
        return alphas

    return statistic
