"""Correlations and their intervals against SciPy's, on random, tied and odd data."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion4k.statistics.correlation as module
from diffusion4k.errors import UsageError
from diffusion4k.statistics import correlate, kendall, plcc, srcc

THEIRS = {
    "srcc": lambda x, y: scipy.stats.spearmanr(x, y)[0],
    "plcc": lambda x, y: scipy.stats.pearsonr(x, y)[0],
    "kendall": lambda x, y: scipy.stats.kendalltau(x, y)[0],
}
OURS = {"srcc": srcc, "plcc": plcc, "kendall": kendall}


def columns(seed: int, rows: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Related columns; few levels make many ties, none make a continuous column."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    y = 0.6 * x + rng.normal(size=rows)
    if levels:
        x, y = np.floor(x * levels), np.floor(y * levels)
    return x, y


@pytest.mark.parametrize("kind", OURS)
@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(3, 200), st.sampled_from([0, 1, 3]))
@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_values_are_scipys(kind: str, seed: int, rows: int, levels: int) -> None:
    x, y = columns(seed, rows, levels)
    assert OURS[kind](x, y) == pytest.approx(THEIRS[kind](x, y), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize("kind", OURS)
def test_bootstrap_intervals_are_scipys(kind: str, levels: int, method: str) -> None:
    x, y = columns(11, 40, levels)
    wanted = scipy.stats.bootstrap(
        (x, y),
        THEIRS[kind],
        paired=True,
        vectorized=False,
        n_resamples=400,
        method=method,
        rng=np.random.default_rng(5),
    ).confidence_interval
    found = correlate(kind, x, y, method=method, resamples=400, seed=5)
    np.testing.assert_allclose((found.low, found.high), wanted, atol=1e-12)


@pytest.mark.parametrize("levels", [0, 2])
def test_fishers_interval_is_scipys(levels: int) -> None:
    x, y = columns(2, 30, levels)
    wanted = scipy.stats.pearsonr(x, y).confidence_interval(0.9)
    found = correlate("plcc", x, y, method="fisher", level=0.9)
    np.testing.assert_allclose((found.low, found.high), wanted, atol=1e-12)


@pytest.mark.parametrize("method", ["fisher", "bca"])
@pytest.mark.parametrize("kind", OURS)
def test_intervals_hold_the_truth(kind: str, method: str) -> None:
    """Of two normal columns with correlation rho, all three truths are known."""
    rho, rng, held, runs = 0.7, np.random.default_rng(1), 0, 200
    truth = {
        "plcc": rho,
        "srcc": 6 / np.pi * np.arcsin(rho / 2),
        "kendall": 2 / np.pi * np.arcsin(rho),
    }[kind]
    for n in range(runs):
        x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 60).T
        found = correlate(kind, x, y, method=method, resamples=400, seed=n)
        held += found.low <= truth <= found.high
    assert 0.89 <= held / runs <= 0.99


def test_kendall_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = columns(4, 90, 2)
    monkeypatch.setattr(module, "_BLOCK", 400)
    assert kendall(x, y) == pytest.approx(THEIRS["kendall"](x, y), abs=1e-12)


@pytest.mark.parametrize("kind", OURS)
def test_a_constant_has_no_correlation(kind: str) -> None:
    # 0.1 summed and divided again is not quite 0.1.
    found = correlate(kind, np.full(37, 0.1), np.arange(37.0))
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize("kind", OURS)
def test_perfect_agreement(kind: str) -> None:
    x = np.arange(10.0)
    for method in ("fisher", "bca", "percentile"):
        found = correlate(kind, x, 3 * x + 1, method=method)
        assert found.value == pytest.approx(1) and found.low == pytest.approx(1)


def test_clusters_widen() -> None:
    x, y = columns(9, 12, 0)
    many = (np.repeat(x, 8), np.repeat(y, 8))
    clustered = correlate("srcc", *many, clusters=np.repeat(np.arange(12), 8), method="percentile")
    naive = correlate("srcc", *many, method="percentile")
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="allowed are srcc, plcc, kendall"):
        correlate("pearson", [1, 2], [1, 2])
    with pytest.raises(UsageError, match="equal length"):
        srcc([1, 2, 3], [1, 2])
    with pytest.raises(UsageError, match="finite"):
        plcc([1, np.nan], [1, 2])
