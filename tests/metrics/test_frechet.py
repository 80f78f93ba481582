"""The Fréchet distance against SciPy's matrix square root and closed forms."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics import frechet_distance
from diffusion4k.metrics.frechet import FewSamplesWarning


def by_square_root(a: np.ndarray, b: np.ndarray) -> float:
    s_a, s_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(s_a + s_b - 2 * sqrtm(s_a @ s_b).real))


@pytest.mark.parametrize(("n_a", "n_b"), [(400, 300), (50, 400), (400, 50)])
def test_equals_scipy(n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(24, 24))
    a = rng.normal(size=(n_a, 24)) @ mixing + 3
    b = rng.normal(size=(n_b, 24)) * np.linspace(0.1, 2, 24)
    assert frechet_distance(a, b) == pytest.approx(by_square_root(a, b), rel=1e-9)


def test_fewer_samples_than_dimensions() -> None:
    # The trace over the D x D product is the one over the small N x N product of the same factors.
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(9, 200)), 2 * rng.normal(size=(12, 200)) + 1
    eigenvalues = np.linalg.eigvals(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    shift = a.mean(0) - b.mean(0)
    expected = (
        shift @ shift
        + a.var(0, ddof=1).sum()
        + b.var(0, ddof=1).sum()
        - 2 * np.sqrt(np.sort(eigenvalues.real)[-8:]).sum()
    )
    with pytest.warns(FewSamplesWarning, match="9 samples of 200 dimensions"):
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def exact_gaussian(mean: np.ndarray, spread: np.ndarray, samples: int = 64) -> np.ndarray:
    """Samples whose mean and (diagonal) standard deviation are exact."""
    x = np.random.default_rng(2).normal(size=(samples, len(mean)))
    q, _ = np.linalg.qr(x - x.mean(0))
    return q * np.sqrt(samples - 1) * spread + mean


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.01, 5), st.floats(0.01, 5)),
        min_size=1,
        max_size=8,
    )
)
def test_closed_form_of_gaussians(axes: list[tuple[float, float, float, float]]) -> None:
    m_a, m_b, s_a, s_b = np.array(axes).T
    expected = np.square(m_a - m_b).sum() + np.square(s_a - s_b).sum()
    distance = frechet_distance(exact_gaussian(m_a, s_a), exact_gaussian(m_b, s_b))
    assert distance == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_symmetric_zero_and_never_negative() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(60, 8))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert 0 <= frechet_distance(a, a) < 1e-10
    assert frechet_distance(a * 1e4, a * 1e4) >= 0


def test_constant_features() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frechet_distance(np.ones((9, 2)), np.full((9, 2), 3.0)) == pytest.approx(8)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 4)), np.zeros((5, 4)), "at least two samples"),
        (np.zeros(4), np.zeros((5, 4)), "takes \\(N, D\\)"),
        (np.zeros((5, 4)), np.zeros((5, 3)), "4 and 3 dimensions"),
        (np.zeros((5, 4)), np.full((5, 4), np.nan), "not finite"),
    ],
)
def test_bad_features(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(Diffusion4kError, match=message):
        frechet_distance(a, b)
