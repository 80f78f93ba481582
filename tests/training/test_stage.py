"""Training a stage: the noise by which flow matching goes from a draft to the picture."""

import pytest
import torch

from diffusion4k.objectives import FlowMatching
from diffusion4k.timesteps import LogitNormal, StageTimesteps
from diffusion4k.training.stage import stage_noise


@pytest.mark.parametrize("start", [0.2, 0.45, 0.9])
def test_the_line_goes_from_the_stage_s_start_to_the_photograph(start: float) -> None:
    latents, drafts, noise = torch.randn(3, 2, 4, 8, 8, dtype=torch.float64)
    n = stage_noise(noise, latents=latents, drafts=drafts, start=start)
    for t in (0.0, 0.1, 0.5 * start, start):
        share = t / start
        expected = (1 - share) * latents + share * ((1 - start) * drafts + start * noise)
        torch.testing.assert_close((1 - t) * latents + t * n, expected, rtol=0, atol=1e-12)


def test_the_sampler_s_steps_end_at_the_photograph() -> None:
    """The velocity that the objective asks for is the one along which a sampler goes."""
    latents, drafts, noise = torch.randn(3, 1, 4, 8, 8, dtype=torch.float64)
    start, steps = 0.45, 4
    n = stage_noise(noise, latents=latents, drafts=drafts, start=start)
    sigma = torch.full((1,), start, dtype=torch.float64)
    assert FlowMatching()(n - latents, latents=latents, noise=n, sigma=sigma) == 0
    z = (1 - start) * drafts + start * noise
    for _ in range(steps):
        z = z - start / steps * (n - latents)
    torch.testing.assert_close(z, latents, rtol=0, atol=1e-12)


def test_noise_levels_stay_below_the_start() -> None:
    whole = LogitNormal()
    levels = StageTimesteps(whole, 0.45).sample(1000, torch.Generator().manual_seed(0))
    expected = 0.45 * whole.sample(1000, torch.Generator().manual_seed(0))
    assert torch.equal(levels, expected) and 0.3 < levels.max() < 0.45
