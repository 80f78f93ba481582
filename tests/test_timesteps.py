"""Distributions of sigma against SciPy's, and against diffusers where it has them."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling

from diffusion4k.timesteps import Beta, LogitNormal, Mode, Uniform, shift_sigma

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
        (Beta(), scipy.stats.beta(2, 4).cdf),
        (Beta(0.7, 1.3), scipy.stats.beta(0.7, 1.3).cdf),
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
    # Compared as numbers. Their training scripts use the number as a place in a *falling* list of
    # timesteps, which mirrors sigma; the paper's (and our) logit(sigma) has mean `mean`.
    assert scipy.stats.ks_2samp(draws(distribution), theirs.numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("distribution", "quantile"),
    [
        (Uniform(), scipy.stats.uniform.ppf),
        (Beta(2, 4), scipy.stats.beta(2, 4).ppf),
        (LogitNormal(-0.4, 1.3), lambda p: scipy.special.expit(scipy.stats.norm.ppf(p, -0.4, 1.3))),
        (
            LogitNormal(shift=3.0),
            # A shift adds log(shift) to the logit.
            lambda p: scipy.special.expit(scipy.stats.norm.ppf(p) + np.log(3.0)),
        ),
    ],
)
def test_quantiles(distribution, quantile) -> None:
    p = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(np.quantile(draws(distribution), p), quantile(p), atol=0.015)


def test_beta_2_4_is_the_second_smallest_of_five() -> None:
    """Uniform values: the order statistic has that very distribution."""
    second = np.sort(np.random.default_rng(0).random((COUNT, 5)), axis=1)[:, 1]
    assert scipy.stats.ks_2samp(draws(Beta(2, 4)), second).pvalue > 1e-3


def test_mode_density_by_inversion() -> None:
    sigma, edges = draws(Mode()), np.linspace(0, 1, 21)
    expected = np.diff(mode_quantiles(1.29)(edges))
    counted = np.histogram(sigma, edges)[0] / COUNT
    # Five standard deviations of a count.
    assert np.all(np.abs(counted - expected) < 5 * np.sqrt(expected / COUNT))


def test_shift_is_that_of_the_stock_scheduler() -> None:
    stock = FlowMatchEulerDiscreteScheduler(num_train_timesteps=100, shift=3.0).sigmas
    sigma = torch.linspace(1, 0.01, 100)
    torch.testing.assert_close(shift_sigma(sigma, 3.0), stock)


def test_device_and_seed() -> None:
    first, second = (
        LogitNormal().sample(4, torch.Generator().manual_seed(1), d) for d in (None, "cpu")
    )
    assert torch.equal(first, second)
    assert LogitNormal().sample(4, device="meta").device.type == "meta"


@pytest.mark.parametrize(
    "distribution",
    [LogitNormal(20, 5), Uniform(), Mode(), LogitNormal(-30), Beta(1e-3, 9), Beta(99, 1e-2)],
)
def test_stays_inside_and_float32(distribution) -> None:
    sigma = distribution.sample(1000)
    assert sigma.dtype == torch.float32
    assert sigma.shape == (1000,)
    assert sigma.min() > 0
    assert sigma.max() < 1


@pytest.mark.parametrize("distribution", [LogitNormal(), Uniform(), Mode(), Beta()])
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
        lambda: Beta(alpha=0),
        lambda: Beta(beta=float("nan")),
        lambda: Beta(shift=-1),
        lambda: shift_sigma(torch.zeros(1), -1),
    ],
)
def test_bad_arguments(make) -> None:
    with pytest.raises(ValueError, match="must"):
        make()
