"""DPM-Solver++ for a stage: the shift of the model's scheduler, and less of an error than Euler."""

import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from diffusion4k.sampling.solver import dpm_solver


def test_noise_levels_are_those_of_the_model_s_scheduler() -> None:
    solver = dpm_solver(FlowMatchEulerDiscreteScheduler(shift=3.0))
    solver.set_timesteps(4)
    linear = torch.tensor([1.0, 0.75, 0.5, 0.25])
    expected = 3 * linear / (1 + 2 * linear)
    assert solver.sigmas[-1] == 0
    torch.testing.assert_close(solver.sigmas[:-1], expected, rtol=0, atol=2e-3)
    dynamic = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    assert dpm_solver(dynamic, 2.5).config.flow_shift == 2.5


def test_others_keep_their_noise_levels() -> None:
    own = DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=3.0)
    assert dpm_solver(own) is own
    noise = DDPMScheduler(beta_end=0.03)
    assert dpm_solver(noise).config.beta_end == 0.03


def test_four_steps_keep_the_variance_that_euler_s_lose() -> None:
    """x is normal with deviation s: the exact velocity is known, and so what should come out."""
    s, strength = 0.5, 0.45
    generator = torch.Generator().manual_seed(0)
    x, noise = s * torch.randn(1, 20000, generator=generator), torch.randn(1, 20000)

    def deviation(scheduler: object, steps: int) -> float:
        scheduler.set_timesteps(steps)  # type: ignore[attr-defined]
        first = next(
            i
            for i, sigma in enumerate(scheduler.sigmas)  # type: ignore[attr-defined]
            if sigma <= strength + 1e-6
        )
        scheduler.set_begin_index(first)  # type: ignore[attr-defined]
        start = float(scheduler.sigmas[first])  # type: ignore[attr-defined]
        z = (1 - start) * x + start * noise
        for number, t in enumerate(scheduler.timesteps[first:], first):  # type: ignore[attr-defined]
            sigma = float(scheduler.sigmas[number])  # type: ignore[attr-defined]
            variance = (1 - sigma) ** 2 * s**2 + sigma**2
            clean = (1 - sigma) * s**2 / variance * z
            z = scheduler.step((z - clean) / sigma, t, z).prev_sample  # type: ignore[attr-defined]
        return float(z.std())

    euler = FlowMatchEulerDiscreteScheduler()
    exact = deviation(FlowMatchEulerDiscreteScheduler(), 900)
    assert abs(exact - s) < 0.01
    errors = [abs(deviation(each, 9) - exact) for each in (dpm_solver(euler), euler)]
    assert errors[0] < errors[1] / 3
