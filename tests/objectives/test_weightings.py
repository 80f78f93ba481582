"""Weightings against their formulas, diffusers, and the bounds that are claimed."""

import math

import numpy as np
import pytest
import torch
from diffusers.training_utils import compute_loss_weighting_for_sd3
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from diffusion4k.objectives.weightings import (
    Constant,
    CosMap,
    InverseSigmaSquared,
    MinSnr,
    PathMinSnr,
    SigmaSquared,
    signal_to_noise,
)

SIGMA = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)


@pytest.mark.parametrize(
    ("weighting", "scheme"), [(InverseSigmaSquared(), "sigma_sqrt"), (CosMap(), "cosmap")]
)
def test_those_of_stable_diffusion_3(weighting, scheme: str) -> None:
    theirs = compute_loss_weighting_for_sd3(scheme, SIGMA).double()
    torch.testing.assert_close(weighting(SIGMA), theirs, rtol=1e-6, atol=0)


def test_cosmap_is_a_density() -> None:
    found, _ = quad(lambda s: CosMap()(torch.tensor(s, dtype=torch.float64)).item(), 0, 1)
    assert found == pytest.approx(1)


def test_constant_and_sigma_squared() -> None:
    assert Constant()(SIGMA).tolist() == [1.0] * 99
    np.testing.assert_allclose(SigmaSquared()(SIGMA), SIGMA.numpy() ** 2)


@given(sigma=st.floats(0.002, 0.998), gamma=st.floats(0.1, 50), beta=st.floats(0, 3))
def test_min_snr_by_its_formula(sigma, gamma, beta) -> None:
    given_sigma = torch.tensor([sigma], dtype=torch.float64)
    snr = (1 - sigma) ** 2 / sigma**2
    assert signal_to_noise(given_sigma).item() == pytest.approx(snr, rel=1e-9)
    assert MinSnr(gamma)(given_sigma).item() == pytest.approx(min(snr, gamma), rel=1e-9)
    expected = sigma / (1 - sigma) * min(snr, gamma) ** beta
    assert PathMinSnr(gamma, beta)(given_sigma).item() == pytest.approx(expected, rel=1e-9)


@given(sigma=st.floats(0, 1), gamma=st.floats(0.1, 50), beta=st.floats(0.5, 3))
def test_the_path_weight_is_bounded(sigma, gamma, beta) -> None:
    found = PathMinSnr(gamma, beta)(torch.tensor([sigma], dtype=torch.float64)).item()
    assert found <= gamma ** (beta - 0.5) * (1 + 1e-9)
    # The bound is reached where the SNR is gamma.
    top = torch.tensor([1 / (1 + math.sqrt(gamma))], dtype=torch.float64)
    assert PathMinSnr(gamma, beta)(top).item() == pytest.approx(gamma ** (beta - 0.5))


@given(beta=st.floats(0, 0.5))
def test_without_much_snr_the_path_weight_stops_at_the_schedules_end(beta) -> None:
    ends = PathMinSnr(5, beta)(torch.tensor([1 - 1e-6, 1.0], dtype=torch.float64)).tolist()
    assert ends == pytest.approx([999 ** (1 - 2 * beta)] * 2)


@pytest.mark.parametrize(
    "weighting",
    [Constant(), SigmaSquared(), InverseSigmaSquared(), CosMap(), MinSnr(), PathMinSnr(beta=0)],
)
def test_finite_everywhere(weighting) -> None:
    for dtype in (torch.float32, torch.float64):
        found = weighting(torch.tensor([0, 1e-30, 1e-6, 0.5, 1 - 1e-6, 1], dtype=dtype))
        assert found.dtype == dtype and found.isfinite().all() and (found >= 0).all()


@pytest.mark.parametrize(
    "make", [lambda: MinSnr(0), lambda: PathMinSnr(float("nan")), lambda: PathMinSnr(5, -0.1)]
)
def test_bad_arguments(make) -> None:
    with pytest.raises(ValueError, match=r"gamma must|beta must"):
        make()
