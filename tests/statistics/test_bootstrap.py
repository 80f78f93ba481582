"""Bootstrap intervals against SciPy's, drawn with the same random numbers, and their coverage."""

import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.errors import UsageError
from diffusion4k.statistics import bootstrap, mean_of, minus, ratio_of_sums

RESAMPLES = 500


def scipys(data, statistic, method, level=0.95, paired=True):
    return scipy.stats.bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        batch=RESAMPLES,
        paired=paired,
        vectorized=True,
        confidence_level=level,
        method=method,
        rng=np.random.default_rng(7),
    ).confidence_interval


@pytest.mark.parametrize("method", ["percentile", "bca"])
@settings(max_examples=15)
# Of few rows a draw may be the sample in another order, whose mean SciPy rounds otherwise.
@given(st.integers(0, 2**32), st.integers(15, 60), st.sampled_from([0.8, 0.95]))
def test_mean_and_ratio_are_scipys(method: str, seed: int, rows: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(size=rows), rng.lognormal(size=rows)
    options = {"method": method, "resamples": RESAMPLES, "level": level, "seed": 7}
    for ours, statistic, data in (
        (mean_of(a), lambda x, axis: x.mean(axis), (a,)),
        (ratio_of_sums(a, b), lambda x, y, axis: x.sum(axis) / y.sum(axis), (a, b)),
        (minus(mean_of(a), mean_of(b)), lambda x, y, axis: (x - y).mean(axis), (a, b)),
    ):
        wanted = scipys(data, statistic, method, level, paired=len(data) > 1)
        found = bootstrap(ours, rows, **options)
        np.testing.assert_allclose((found.low, found.high), wanted, rtol=1e-9, atol=1e-12)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap(mean_of(values), 50, method="bca")
    monkeypatch.setattr(sys.modules["diffusion4k.statistics.bootstrap"], "_BLOCK", 130)
    in_parts = bootstrap(mean_of(values), 50, method="bca")
    assert vars(in_parts) == pytest.approx(vars(whole))


def test_clusters_are_drawn_whole() -> None:
    """Ten equal answers of each of 12 people hold what 12 answers hold, not 120."""
    people = np.random.default_rng(3).normal(size=12)
    answers, who = np.repeat(people, 10), np.repeat([f"p{n}" for n in range(12)], 10)
    clustered = bootstrap(mean_of(answers), 120, clusters=who)
    # Labels are numbered in the order of their names.
    by_name = people[np.argsort([f"p{n}" for n in range(12)])]
    alone = bootstrap(mean_of(by_name), 12)
    assert vars(clustered) == pytest.approx(vars(alone))
    naive = bootstrap(mean_of(answers), 120)
    assert naive.high - naive.low < 0.5 * (clustered.high - clustered.low)


def test_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for n in range(300):
        found = bootstrap(mean_of(rng.normal(1, 1, 80)), 80, resamples=600, seed=n)
        held += found.low <= 1 <= found.high
    assert 0.91 <= held / 300 <= 0.98


def test_one_row_or_one_cluster_has_no_interval() -> None:
    one = bootstrap(mean_of([3.0]), 1)
    assert one.value == 3 and np.isnan([one.low, one.high]).all()
    same = bootstrap(mean_of([1.0, 2.0]), 2, clusters=["a", "a"])
    assert same.value == 1.5 and np.isnan(same.low)


def test_equal_rows_have_a_point() -> None:
    for method in ("percentile", "bca"):
        found = bootstrap(mean_of(np.full(9, 2.0)), 9, method=method)
        assert (found.low, found.value, found.high) == (2, 2, 2)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (0, {}, "no rows"),
        (3, {"level": 95}, "between 0 and 1"),
        (3, {"clusters": ["a"]}, "1 cluster labels for 3 rows"),
    ],
)
def test_wrong_use(rows: int, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bootstrap(mean_of(np.ones(rows)), rows, **options)
