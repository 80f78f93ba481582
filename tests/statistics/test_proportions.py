"""Wilson's interval against statsmodels, its level on drawn shares; the sign test against SciPy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from diffusion4k.errors import UsageError
from diffusion4k.statistics.proportions import sign_test, wilson


@given(
    cases=st.integers(1, 5000), share=st.floats(0, 1), level=st.sampled_from((0.5, 0.9, 0.95, 0.99))
)
def test_equals_statsmodels(cases: int, share: float, level: float) -> None:
    successes = round(2 * share * cases) / 2  # ties count half
    found = wilson(successes, cases, level)
    low, high = proportion_confint(successes, cases, 1 - level, "wilson")
    assert found.value == successes / cases
    assert found.low == pytest.approx(low, abs=1e-12)
    assert found.high == pytest.approx(high, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("cases", [50, 400])
def test_holds_its_level(share: float, cases: int) -> None:
    """Exactly, over all counts that can come."""
    covered = sum(
        binom.pmf(k, cases, share)
        for k in range(cases + 1)
        if wilson(k, cases).low <= share <= wilson(k, cases).high
    )
    assert 0.925 < covered < 0.98


def test_no_case_and_what_is_no_share() -> None:
    assert all(math.isnan(v) for v in (wilson(0, 0).value, wilson(0, 0).low, wilson(0, 0).high))
    for successes, cases, level in ((3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)):
        with pytest.raises(UsageError):
            wilson(successes, cases, level)


def test_the_sign_test_equals_scipy() -> None:
    for wins in (*range(0, 30), 112, 1000):
        for losses in (*range(0, 30), 60, 1400):
            if wins + losses:
                expected = binomtest(wins, wins + losses).pvalue
                assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_the_sign_test_at_its_edges() -> None:
    assert sign_test(0, 0) == 1
    with pytest.raises(UsageError, match="allowed from 0"):
        sign_test(-1, 3)
