"""Verdicts: what an interval tells, and what it does not."""

import pytest

from diffusion4k.ablation.results import EqualArms, judge
from diffusion4k.benchmark.values import EMPTY, Cell
from diffusion4k.metrics.measure import Mean

LOWER, HIGHER, NEITHER = (Mean("x", "x", better, 2) for better in ("lower", "higher", ""))


@pytest.mark.parametrize(
    ("low", "high", "lower", "higher", "neither"),
    [
        (-3.0, -0.5, "better", "worse", "differs"),
        (0.05, 4.0, "worse", "better", "differs"),
        (-0.09, 0.1, "equal", "equal", "equal"),
        (0.02, 0.09, "equal", "equal", "equal"),
        (-0.2, 0.05, "cannot tell", "cannot tell", "cannot tell"),
        (0.0, 0.0, "equal", "equal", "equal"),
    ],
)
def test_verdicts(low: float, high: float, lower: str, higher: str, neither: str) -> None:
    """The baseline's value is -10, the margin one hundredth of it: 0.1."""
    difference = Cell((low + high) / 2, low, high)
    told = [judge(difference, -10, column, 0.01) for column in (LOWER, HIGHER, NEITHER)]
    assert told == [lower, higher, neither]


def test_without_an_interval_nothing_can_be_told() -> None:
    assert judge(Cell(0.0), 10, LOWER, 0.01) == "cannot tell"
    assert judge(EMPTY, None, LOWER, 0.01) == ""


def test_equal_arms_differ_by_rounding_at_most() -> None:
    assert EqualArms("a", "b", 1e-6, 9e-6).holds
    assert not EqualArms("a", "b", 1e-6, 2e-5).holds and not EqualArms("a", "b", 1e-4, 0).holds
