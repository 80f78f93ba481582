"""The sign test: would so many of the cases have gone one way by the toss of a coin?

    p = min(1, 2 sum_{k <= min(wins, losses)} C(n, k) / 2^n),    n = wins + losses

Exact; ties are left out. Each case must be independent of the others: a prompt, not an answer,
where several people answered about the same prompt. Source: Dixon and Mood, JASA 41, 1946.
"""

from fractions import Fraction
from math import comb

from diffusion4k.errors import UsageError

__all__ = ["sign_test"]


def sign_test(wins: int, losses: int) -> float:
    """The two-sided p-value; 1 without any case.

    Raises:
        UsageError: a negative number.
    """
    if wins < 0 or losses < 0:
        raise UsageError(f"{wins} wins and {losses} losses: allowed from 0")
    number = wins + losses
    tail = sum(comb(number, k) for k in range(min(wins, losses) + 1))
    # A fraction of whole numbers, as 2^n soon leaves the range of floats.
    return min(1.0, float(Fraction(2 * tail, 2**number)))
