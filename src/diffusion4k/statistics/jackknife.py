r"""The grouped jackknife: an interval for a statistic that suffers from rows that come twice.

A Fréchet distance is the higher the fewer different rows there are. A bootstrap draw holds only 63%
of them and repeats others, so that all its values may lie above the sample's. The jackknife repeats
none: rows are shared out at random among G groups, and the statistic is taken without each in turn.

    s^2 = (G - 1) / G * sum (theta_g - mean theta)^2,    interval = theta -+ t s

with the quantile t of Student's distribution of G - 1 degrees of freedom. What the statistic is
biased by is about the same in all theta_g and falls out: the interval is one for the statistic at
this number of rows, bias included.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11; groups: Shao and
Tu, The Jackknife and Bootstrap, 1995, section 2.3.
"""

import math

import numpy as np

from diffusion4k.statistics.bootstrap import Interval, Statistic

__all__ = ["jackknife"]


def jackknife(
    statistic: Statistic, rows: int, *, groups: int = 20, level: float = 0.95, seed: int = 0
) -> Interval:
    """The value of `statistic` on all rows, and its jackknife interval.

    Bounds are NaN for fewer than two rows, or where the statistic has no value without a group.
    With fewer rows than `groups`, each row is a group.
    """
    from scipy.special import stdtrit

    value = float(statistic(np.ones((1, rows)))[0])
    count = min(groups, rows)
    if count < 2:
        return Interval(value, math.nan, math.nan)
    group = np.random.default_rng(seed).permutation(rows) % count
    without = statistic((group != np.arange(count)[:, None]) * 1.0)
    spread = (count - 1) / count * np.square(without - without.mean()).sum()
    reach = float(stdtrit(count - 1, (1 + level) / 2) * np.sqrt(spread))
    return Interval(value, value - reach, value + reach)
