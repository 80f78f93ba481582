"""Intervals over two kinds of clusters: closed forms, coverage in simulation, too few clusters."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from diffusion4k.errors import UsageError
from diffusion4k.statistics import crossed, mean_of, minus


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=12, unique=True))
@example([0.0, 1e-100, 2e-100])
def test_one_kind_left_out_in_turn_is_students_interval(values: list[float]) -> None:
    found = crossed(mean_of(values), [np.arange(len(values))], repeats=False)
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert found.low == pytest.approx(low, abs=1e-6) and found.high == pytest.approx(high, abs=1e-6)


def test_draws_come_to_the_same_for_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=8)
    drawn = crossed(mean_of(values), [np.arange(8)], resamples=40_000)
    without = crossed(mean_of(values), [np.arange(8)], repeats=False)
    assert (drawn.low, drawn.high) == pytest.approx((without.low, without.high), abs=0.02)


@pytest.mark.parametrize(("seed_spread", "prompt_spread"), [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_the_truth_lies_in_most_intervals(seed_spread: float, prompt_spread: float) -> None:
    """Three seeds, nine prompts, each with an effect of its own; the truth is 0."""
    rng = np.random.default_rng(3)
    seeds, prompts = (axis.ravel() for axis in np.indices((3, 9)))
    held, times = 0, 600
    for _ in range(times):
        rows = rng.normal(0, seed_spread, 3)[seeds] + rng.normal(0, prompt_spread, 9)[prompts]
        rows += rng.normal(0, 0.5, 27)
        found = crossed(mean_of(rows), [seeds, prompts], repeats=False)
        held += found.low <= 0 <= found.high
    assert held / times > 0.91  # with 4000 times 0.931, 0.960, 0.939 and 0.992


def test_what_is_common_to_both_sides_falls_out_of_a_difference() -> None:
    rng = np.random.default_rng(1)
    seeds, prompts = (axis.ravel() for axis in np.indices((4, 6)))
    common = 10 * rng.normal(size=6)[prompts] + 10 * rng.normal(size=4)[seeds]
    shift = 0.1 + 0.01 * rng.normal(size=24)
    found = crossed(minus(mean_of(common + shift), mean_of(common)), [seeds, prompts])
    assert 0 < found.low < 0.1 < found.high < 0.2


def test_too_few_clusters_have_no_interval() -> None:
    seeds, prompts = (axis.ravel() for axis in np.indices((2, 9)))
    found = crossed(mean_of(np.arange(18.0)), [seeds, prompts])
    assert found.value == 8.5 and math.isnan(found.low) and math.isnan(found.high)


def test_equal_rows_have_an_interval_of_no_width() -> None:
    seeds, prompts = (axis.ravel() for axis in np.indices((3, 3)))
    found = crossed(mean_of(np.full(9, 2.0)), [seeds, prompts])
    assert (found.low, found.high) == (2, 2)


def test_labels_for_other_rows_are_refused() -> None:
    with pytest.raises(UsageError, match=r"labels of \[3, 4\] rows"):
        crossed(mean_of(np.zeros(3)), [np.arange(3), np.arange(4)])
