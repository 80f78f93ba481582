"""The jackknife against its closed form for a mean, and its coverage where a bootstrap fails."""

import numpy as np
import pytest
import scipy.stats

from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.statistics import bootstrap, jackknife, mean_of, minus


def test_of_a_mean_it_is_students_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 15)
    found = jackknife(mean_of(values), 15, groups=20, level=0.9)
    wanted = scipy.stats.t.interval(0.9, 14, values.mean(), scipy.stats.sem(values))
    np.testing.assert_allclose((found.low, found.high), wanted, rtol=1e-12)
    assert found.value == pytest.approx(values.mean())


def test_groups_share_the_rows_out_evenly() -> None:
    seen = []

    def statistic(counts: np.ndarray) -> np.ndarray:
        seen.append(counts)
        return counts.sum(1)

    jackknife(statistic, 103, groups=20)
    whole, without = seen
    assert whole.tolist() == [[1] * 103] and without.shape == (20, 103)
    assert set(np.unique(without)) == {0, 1} and ((without == 0).sum(0) == 1).all()
    assert set((without == 0).sum(1)) == {5, 6}


def test_a_difference_of_pairs_is_narrow() -> None:
    hard = np.random.default_rng(1).normal(0, 10, 40)
    easy = hard + np.random.default_rng(2).normal(1, 0.1, 40)
    found = jackknife(minus(mean_of(easy), mean_of(hard)), 40)
    assert found.low < 1 < found.high and found.high - found.low < 0.2


def test_too_few_rows() -> None:
    assert np.isnan(jackknife(mean_of([1.0]), 1).low)
    assert np.isnan(jackknife(mean_of([1.0, 2.0]), 2, groups=0).low)
    undefined = jackknife(lambda counts: np.where(counts.sum(1) > 2, 1.0, np.nan), 3)
    assert undefined.value == 1 and np.isnan(undefined.low)


@pytest.mark.parametrize(("rows", "patches"), [(40, 1), (25, 4)])
def test_intervals_of_a_frechet_distance(rows: int, patches: int) -> None:
    """They hold the mean distance of folders of this size; a bootstrap's seldom do."""
    dimension, runs = 16, 80
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=(400, dimension))

    def drawn() -> np.ndarray:
        # Patches of a picture have something in common.
        own = rng.normal(size=(rows, 1, dimension)) * (0.5 if patches > 1 else 0)
        return own + rng.normal(0.2, 1.2, (rows, patches, dimension))

    truth = np.mean([frechet_distance(drawn().reshape(-1, dimension), theirs) for _ in range(300)])
    held = {"jackknife": 0, "bootstrap": 0}
    for _ in range(runs):
        sample = drawn()

        def statistic(counts: np.ndarray, sample: np.ndarray = sample) -> np.ndarray:
            repeated = [np.repeat(sample, row.astype(int), axis=0) for row in counts]
            return np.array([frechet_distance(s.reshape(-1, dimension), theirs) for s in repeated])

        ours = jackknife(statistic, rows)
        held["jackknife"] += ours.low <= truth <= ours.high
        theirs_too = bootstrap(statistic, rows, resamples=40)
        held["bootstrap"] += theirs_too.low <= truth <= theirs_too.high
    assert held["jackknife"] / runs > 0.92
    assert held["bootstrap"] / runs < 0.7
