"""Distributions of sigma against SciPy's, and against diffusers where it has them."""

import numpy as np
import pytest
import scipy.stats
import torch
from diffusers.training_utils import compute_density_for_timestep_sampling

from diffusion4k.timesteps import LogitNormal, Mode, Uniform, shift_sigma

COUNT = 20_000


def draws(distribution, seed: int = 0) -> np.ndarray:
    return distribution.sample(COUNT, torch.Generator().manual_seed(seed)).double().numpy()


def mode_quantiles(scale: float):
    """The distribution of SD3's mode sampling by inverting its map on a fine grid."""
    u = np.linspace(0, 1, 100_001)
    sigma = 1 - u - scale * (np.cos(np.pi / 2 * u) ** 2 - 1 + u)
    return lambda x: 1 - np.interp(x, sigma[::-1], u[::-1])


@pytest.mark.parametrize(
    ("distribution", "cumulative"),
    [
        (Uniform(), scipy.stats.uniform.cdf),
        (LogitNormal(), lambda x: scipy.stats.norm.cdf(np.log(x / (1 - x)))),
        (LogitNormal(0.5, 0.6), lambda x: scipy.stats.norm.cdf(np.log(x / (1 - x)), 0.5, 0.6)),
        (Mode(), mode_quantiles(1.29)),
        (Mode(-0.8), mode_quantiles(-0.8)),
        # A shifted draw, shifted back, is the plain distribution.
        (Uniform(shift=3.0), lambda x: x / (3 - 2 * x)),
    ],
)
def test_distribution(distribution, cumulative) -> None:
    assert scipy.stats.kstest(draws(distribution), cumulative).pvalue > 1e-3


@pytest.mark.parametrize(
    ("distribution", "arguments"),
    [
        (LogitNormal(0.3, 0.8), {"weighting_scheme": "logit_normal"}),
        (Mode(1.29), {"weighting_scheme": "mode"}),
    ],
)
def test_same_distribution_as_diffusers(distribution, arguments) -> None:
    theirs = compute_density_for_timestep_sampling(
        batch_size=COUNT,
        logit_mean=0.3,
        logit_std=0.8,
        mode_scale=1.29,
        generator=torch.Generator().manual_seed(1),
        **arguments,
    )
    # theirs is the place in the list of timesteps: its distribution is that of 1 - sigma or sigma
    # alike for mode sampling, and mirrored for no other scheme.
    assert scipy.stats.ks_2samp(draws(distribution), theirs.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("distribution", [LogitNormal(20, 5), Uniform(), Mode(), LogitNormal(-30)])
def test_stays_inside_and_float32(distribution) -> None:
    sigma = distribution.sample(1000)
    assert sigma.dtype == torch.float32
    assert sigma.shape == (1000,)
    assert sigma.min() > 0
    assert sigma.max() < 1


@pytest.mark.parametrize("distribution", [LogitNormal(), Uniform(), Mode()])
def test_generator_decides(distribution) -> None:
    assert np.array_equal(draws(distribution, 5), draws(distribution, 5))
    assert not np.array_equal(draws(distribution, 5), draws(distribution, 6))


def test_shift_keeps_ends_and_inverts() -> None:
    sigma = torch.linspace(0, 1, 11, dtype=torch.float64)
    shifted = shift_sigma(sigma, 3.0)
    assert shifted[0] == 0
    assert shifted[-1] == 1
    assert torch.all(shifted[1:-1] > sigma[1:-1])
    torch.testing.assert_close(shift_sigma(shifted, 1 / 3), sigma)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogitNormal(std=0),
        lambda: LogitNormal(mean=float("inf")),
        lambda: Uniform(shift=0),
        lambda: Mode(scale=2.0),
        lambda: shift_sigma(torch.zeros(1), -1),
    ],
)
def test_bad_arguments(make) -> None:
    with pytest.raises(ValueError, match="must"):
        make()
