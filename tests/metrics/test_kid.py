"""KID beside torchmetrics and beside the double loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.kid import kid, kid_of_folders


class Bare(nn.Module):
    """Hands features through that were found before."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def two_sets(n_a: int, n_b: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(n_a, 12)), random.normal(0.3, 1.2, size=(n_b, 12))


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_torchmetrics_on_whole_sets() -> None:
    a, b = two_sets(40, 40)
    theirs = KernelInceptionDistance(feature=Bare(), subsets=3, subset_size=40)
    theirs.update(torch.from_numpy(a), real=True)
    theirs.update(torch.from_numpy(b), real=False)
    mean, std = theirs.compute()
    found = kid(a, b)
    assert found.mean == pytest.approx(float(mean), rel=1e-9)
    assert found.std == 0 == pytest.approx(float(std), abs=1e-9)
    assert kid_of_folders(a[:, None], b[:, None]) == pytest.approx(1000 * float(mean), rel=1e-9)


@settings(max_examples=20)
@given(st.integers(2, 7), st.integers(0, 99))
def test_double_loop(count: int, seed: int) -> None:
    a, b = two_sets(count, count, seed)

    def mean_kernel(x: np.ndarray, y: np.ndarray, *, others: bool) -> float:
        values = [
            (u @ v / 12 + 1) ** 3
            for i, u in enumerate(x)
            for j, v in enumerate(y)
            if not (others and i == j)
        ]
        return float(np.mean(values))

    expected = (
        mean_kernel(a, a, others=True)
        + mean_kernel(b, b, others=True)
        - 2 * mean_kernel(a, b, others=False)
    )
    assert kid(a, b).mean == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_subsets_surround_the_whole() -> None:
    a, b = two_sets(300, 300)
    whole = kid(a, b).mean
    found = kid(a, b, subsets=200, subset_size=60)
    assert found.std > 0
    assert abs(found.mean - whole) < 4 * found.std / 200**0.5
    assert found == kid(a, b, subsets=200, subset_size=60)
    assert found != kid(a, b, subsets=200, subset_size=60, seed=1)


def test_sets_of_other_sizes_and_no_bias() -> None:
    a, b = two_sets(30, 200)
    assert kid(a, b).std > 0
    random = np.random.default_rng(5)
    same = [kid(random.normal(size=(9, 12)), random.normal(size=(9, 12))).mean for _ in range(400)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 20


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 4)), np.zeros((5, 4)), "at least 2 samples"),
        (np.zeros((5, 4)), np.zeros((5, 3)), "of one"),
        (np.zeros((5, 4)), np.full((5, 4), np.nan), "not finite"),
    ],
)
def test_bad_features(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(Diffusion4kError, match=message):
        kid(a, b)
    with pytest.raises(Diffusion4kError, match="without features"):
        kid_of_folders([], [b])
