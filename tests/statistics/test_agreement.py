"""Krippendorff's alpha against the package of that name, and against simulated raters."""

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffusion4k.errors import UsageError
from diffusion4k.statistics import against_others, krippendorff_alpha, srcc

LEVELS = ("nominal", "ordinal", "interval")


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.integers(2, 6),
    st.integers(2, 40),
    st.integers(2, 10),
    st.floats(0, 0.8),
)
def test_alpha_is_the_packages(
    level: str, seed: int, raters: int, units: int, values: int, missing: float
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, values + 1, units)
    ratings = np.clip(truth + rng.integers(-1, 2, (raters, units)), 1, values).astype(float)
    ratings[rng.random(ratings.shape) < missing] = np.nan
    pairable = ratings[:, (~np.isnan(ratings)).sum(0) > 1]
    assume(len(np.unique(pairable[~np.isnan(pairable)])) > 1)
    wanted = krippendorff.alpha(reliability_data=ratings, level_of_measurement=level)
    found = krippendorff_alpha(ratings, level, resamples=20)
    assert found.value == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_interval_is_the_bootstrap_over_units(level: str) -> None:
    """The package on each draw of units, drawn with the same random numbers."""
    rng = np.random.default_rng(4)
    ratings = rng.integers(1, 5, (3, 25)).astype(float)
    ratings[0, :5] = np.nan
    chosen = np.random.default_rng(9).integers(0, 25, (200, 25))
    drawn = [
        krippendorff.alpha(reliability_data=ratings[:, units], level_of_measurement=level)
        for units in chosen
    ]
    found = krippendorff_alpha(ratings, level, resamples=200, seed=9)
    wanted = np.quantile(drawn, (0.025, 0.975))
    np.testing.assert_allclose((found.low, found.high), wanted, atol=1e-9)


def test_extremes() -> None:
    same = np.tile(np.arange(8.0), (3, 1))
    for level in LEVELS:
        assert krippendorff_alpha(same, level).value == 1
    opposed = np.array([[1.0, 2.0] * 20, [2.0, 1.0] * 20])
    assert krippendorff_alpha(opposed, "nominal").value < -0.9
    for undefined in (np.ones((3, 5)), np.full((2, 4), np.nan), np.diag([1.0, 2.0]) * np.nan):
        assert np.isnan(krippendorff_alpha(undefined).value)


def test_large_values_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=(3, 30))
    alone = krippendorff_alpha(ratings, "interval").value
    assert krippendorff_alpha(ratings + 1e6, "interval").value == pytest.approx(alone, abs=1e-6)


def test_a_rater_who_guesses_is_found() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    ratings = truth + rng.normal(0, 0.4, (5, 60))
    ratings[3] = rng.normal(size=60)
    ratings[4, :58] = np.nan
    found = against_others(ratings)
    others = np.nanmean(np.delete(ratings, 1, axis=0), axis=0)
    assert found[1] == (pytest.approx(srcc(ratings[1], others)), 60)
    assert min(value for value, _ in found[:3]) > 0.7 and abs(found[3][0]) < 0.35
    assert np.isnan(found[4][0]) and found[4][1] == 2


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="nominal, ordinal and interval"):
        krippendorff_alpha(np.ones((2, 2)), "ratio")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="raters, units"):
        krippendorff_alpha(np.ones(4))
