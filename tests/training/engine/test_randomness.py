"""Noise and noise levels of samples belong to their places, whatever the distribution."""

import pytest
import torch

from diffusion4k.timesteps import Beta, LogitNormal, Mode, TimestepDistribution, Uniform
from diffusion4k.training.engine.randomness import draw_noise

SHAPE = torch.Size((4, 8, 8))


@pytest.mark.parametrize("timesteps", [Uniform(), Mode(), Beta(), LogitNormal(mean=1, shift=3)])
def test_the_noise_is_the_same_under_every_distribution(timesteps: TimestepDistribution) -> None:
    places = torch.tensor([3, 0, 7])
    noise, sigma = draw_noise(5, places, SHAPE, LogitNormal())
    same, other = draw_noise(5, places, SHAPE, timesteps)
    assert torch.equal(noise, same) and not torch.equal(sigma, other)
    assert not torch.equal(noise, draw_noise(6, places, SHAPE, timesteps)[0])
