"""Noise levels by a shift of one's own, and sizes at which the model's own leaves no detail."""

from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from diffusion4k.errors import UsageError
from diffusion4k.families import Defaults, family_of
from diffusion4k.families.flux import Flux
from diffusion4k.sampling import Request, Sampler
from diffusion4k.sampling.shift import check_shift, with_shift
from tests.families.test_flux import tiny_flux


def _shifted(shift: float, steps: int) -> torch.Tensor:
    sigma = torch.linspace(1, 1 / steps, steps)
    return shift * sigma / (1 + (shift - 1) * sigma)


def test_schedules_of_every_kind_take_a_shift() -> None:
    fixed = with_shift(FlowMatchEulerDiscreteScheduler(shift=3.0), 8.0)
    fixed.set_timesteps(sigmas=torch.linspace(1, 0.1, 10).tolist())
    torch.testing.assert_close(fixed.sigmas[:-1].float(), _shifted(8.0, 10))
    dynamic = with_shift(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), 8.0)
    # A pipeline gives the shift that it computes from the tokens.
    dynamic.set_timesteps(sigmas=torch.linspace(1, 0.1, 10).tolist(), mu=1.15)
    torch.testing.assert_close(dynamic.sigmas[:-1].float(), _shifted(8.0, 10))
    dynamic.set_timesteps(10, mu=1.15)
    torch.testing.assert_close(
        dynamic.sigmas[9].double(), torch.tensor(8 / 1007, dtype=torch.float64), rtol=1e-5, atol=0
    )
    dpm = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    assert with_shift(dpm, 5.0).config.flow_shift == 5.0


def test_an_image_with_a_shift_is_another_and_says_so(tmp_path: Path) -> None:
    sampler = Sampler(tiny_flux(tmp_path / "flux"))
    request = {"width": 64, "height": 64, "steps": 3, "stages": ()}
    usual = sampler.settle(Request("a cat", **request))
    own = sampler.settle(Request("a cat", **request, shift=20.0))
    assert (usual.shift, own.shift) == (None, 20.0)
    assert not torch.equal(sampler.denoise(usual), sampler.denoise(own))
    # The model's own shift, given, changes nothing.
    natural = sampler.family.timestep_shift(sampler.folder, 4)
    same = sampler.settle(Request("a cat", **request, shift=natural))
    torch.testing.assert_close(sampler.denoise(same), sampler.denoise(usual), rtol=0, atol=1e-5)


def test_sizes_by_factor(tmp_path: Path) -> None:
    model = tiny_flux(tmp_path / "flux")
    for factor, side in ((16, 4096), (8, 2048)):
        family = family_of(model, factor)
        assert family.defaults(model) == Defaults(50, 5.0, side, side)
        tokens = (side // family.size_step) ** 2
        assert tokens == 16384 and family.timestep_shift(model, tokens) < 30
    sampler = Sampler(model, factor=8)
    with pytest.raises(UsageError, match=r"4096x4096: .* shifts noise levels by 103,\d+, .*shift"):
        sampler.settle(Request("a cat", width=4096, height=4096, stages=()))
    made = Request("a cat", width=4096, height=4096, stages=(), shift=20.0)
    assert sampler.settle(made).shift == 20.0
    assert Flux(8).defaults_for({"guidance_embeds": True}, {}).width == 2048


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan"), 1e9])
def test_wrong_shifts_are_refused(shift: float) -> None:
    with pytest.raises(UsageError, match="allowed is a number above 0"):
        check_shift(shift, 3.0, model="m", width=1, height=1)
