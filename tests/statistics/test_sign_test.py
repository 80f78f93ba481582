"""The sign test against SciPy's exact binomial test."""

import pytest
from scipy.stats import binomtest

from diffusion4k.errors import UsageError
from diffusion4k.statistics.sign_test import sign_test


def test_equals_scipy() -> None:
    for wins in (*range(0, 30), 112, 1000):
        for losses in (*range(0, 30), 60, 1400):
            if wins + losses:
                expected = binomtest(wins, wins + losses).pvalue
                assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_edges() -> None:
    assert sign_test(0, 0) == 1
    with pytest.raises(UsageError, match="allowed from 0"):
        sign_test(-1, 3)
