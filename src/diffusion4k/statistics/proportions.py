"""A share of cases, such as how often one model was preferred: its interval, and a test.

Wilson's interval of k of n at z standard deviations (1.96 for 95%) is

    (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),    p = k / n

Other than p -+ z sqrt(p (1 - p) / n) it stays within 0 and 1 and holds its level for few cases and
for shares near 0 or 1. Source: Wilson, JASA 22 (1927) 209-212; Brown, Cai and DasGupta, Statistical
Science 16 (2001) 101-133.

The sign test asks whether so many of the cases would have gone one way by the toss of a coin:

    p = min(1, 2 sum_{k <= min(wins, losses)} C(n, k) / 2^n),    n = wins + losses

Exact; ties are left out. Each case must be independent of the others: a prompt, not an answer,
where several people answered about the same prompt. Source: Dixon and Mood, JASA 41, 1946.
"""

import math
from fractions import Fraction
from statistics import NormalDist

from diffusion4k.errors import UsageError
from diffusion4k.statistics.bootstrap import Interval

__all__ = ["sign_test", "wilson", "wilson_around"]


def wilson(successes: float, cases: int, level: float = 0.95) -> Interval:
    """The share `successes / cases` and its Wilson interval; a tie may count as half a success.

    NaN without any case.

    Raises:
        UsageError: not 0 <= successes <= cases, or a level that is none.
    """
    if not 0 <= successes <= cases or not 0 < level < 1:
        raise UsageError(f"{successes} of {cases} at level {level}: allowed 0 to all, level 0 to 1")
    if not cases:
        return Interval(*[float("nan")] * 3)
    return wilson_around(successes / cases, cases, NormalDist().inv_cdf((1 + level) / 2))


def wilson_around(share: float, cases: float, z: float) -> Interval:
    """Wilson's interval around a share of as many cases, at `z` standard deviations."""
    middle = share + z**2 / (2 * cases)
    half = z * math.sqrt(share * (1 - share) / cases + z**2 / (4 * cases**2))
    scale = 1 + z**2 / cases
    # Of shares 0 and 1 rounding would put one bound on the wrong side.
    low, high = min((middle - half) / scale, share), max((middle + half) / scale, share)
    return Interval(share, max(low, 0.0), min(high, 1.0))


def sign_test(wins: int, losses: int) -> float:
    """The two-sided p-value; 1 without any case.

    Raises:
        UsageError: a negative number.
    """
    if wins < 0 or losses < 0:
        raise UsageError(f"{wins} wins and {losses} losses: allowed from 0")
    number = wins + losses
    tail = sum(math.comb(number, k) for k in range(min(wins, losses) + 1))
    # A fraction of whole numbers, as 2^n soon leaves the range of floats.
    return min(1.0, float(Fraction(2 * tail, 2**number)))
