"""Features that come in pieces give the distance of the whole, to the last digits."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics import frechet_distance
from diffusion4k.metrics.frechet import FewSamplesWarning, Gaussian

pytestmark = pytest.mark.filterwarnings("ignore::diffusion4k.metrics.frechet.FewSamplesWarning")


def cut(features: np.ndarray, lengths: list[int]) -> Iterator[np.ndarray]:
    """Pieces of the given lengths, again and again; some are empty."""
    start = 0
    while start < len(features):
        for length in [*lengths, 1]:
            yield features[start : start + length]
            start += length


@settings(max_examples=60)
@given(
    st.integers(2, 60), st.integers(1, 8), st.lists(st.integers(0, 9), max_size=4), st.integers(0)
)
def test_moments_of_any_pieces(n: int, d: int, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)) * np.geomspace(1, 1e-3, d) + rng.normal(size=d) * 10
    found = Gaussian(cut(features, lengths))
    root = found.covariance_root()
    assert found.count == n and len(root) <= max(n, d)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-12, atol=1e-12)
    expected = np.cov(features, rowvar=False).reshape(d, d)
    np.testing.assert_allclose(root.T @ root, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n_a", "n_b"), [(300, 260), (10, 300), (12, 9)])
def test_distance_of_pictures_equals_that_of_the_whole(n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 40))
    a, b = rng.normal(size=(n_a, 40)) @ mixing + 3, rng.normal(size=(n_b, 40))
    whole = frechet_distance(a, b)
    assert frechet_distance(cut(a, [7, 0, 3]), cut(b, [1])) == pytest.approx(whole, rel=1e-12)
    assert frechet_distance(list(cut(a, [2])), b) == pytest.approx(whole, rel=1e-12)


def test_small_variances_beside_great_ones_keep_their_digits() -> None:
    # A sum of outer products in float64 keeps no digit of a spread 1e-9 of the greatest one.
    rng = np.random.default_rng(1)
    q, _ = np.linalg.qr(rng.normal(size=(512, 2)) - 0)
    q -= q.mean(0)
    q, _ = np.linalg.qr(q)
    scale = np.array([1e9, 1.0]) * np.sqrt(511)
    (a, b) = (q * scale, q * scale * [1, 3])
    found = Gaussian(cut(a, [5])), Gaussian(cut(b, [5]))
    spreads = [np.linalg.svd(g.covariance_root(), compute_uv=False) for g in found]
    np.testing.assert_allclose(spreads, [[1e9, 1], [1e9, 3]], rtol=1e-6)


def test_memory_does_not_grow_with_the_samples() -> None:
    def check(gaussian_rows: int = 5000) -> Iterator[np.ndarray]:
        for n in range(gaussian_rows):
            yield np.random.default_rng(n).normal(size=(1, 4))

    found = Gaussian(check())
    assert found.count == 5000 and found.covariance_root().shape == (4, 4)


def test_pieces_that_do_not_fit() -> None:
    good = np.ones((2, 3))
    with pytest.raises(Diffusion4kError, match="beside 3 dimensions"):
        Gaussian([good, np.ones((2, 4))])
    with pytest.raises(Diffusion4kError, match=r"second features have shape \(4,\)"):
        frechet_distance(good, [np.ones(4)])
    with pytest.raises(Diffusion4kError, match="not finite"):
        Gaussian([good, np.full((1, 3), np.inf)])
    with pytest.raises(Diffusion4kError, match="hold 0 samples"):
        frechet_distance(iter([]), good)
    with pytest.warns(FewSamplesWarning, match="2 samples of 3 dimensions"):
        assert frechet_distance([good], [good]) == 0
