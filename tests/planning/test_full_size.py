"""The plan beside a full-size transformer that really runs: Stable Diffusion 3 Medium, 2B.

Its weights are random, in bfloat16, and the step is plain SGD's: weights and gradients take 8 GB,
while float32 with AdamW's moments, as `train` has it, would take 32 GB.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.measured import allocated_peak
from diffusion4k.accounting.blueprint import Blueprint
from diffusion4k.accounting.machine import free_memory
from diffusion4k.accounting.stages import denoising_stage
from diffusion4k.models.published import build_published
from diffusion4k.objectives import WaveletFlow
from diffusion4k.training.step import denoising_loss
from diffusion4k.training.step_cost import TrainingSetup, training_stages

pytestmark = pytest.mark.slow

SIDE = 512
BF16 = torch.bfloat16
HUB_ID = "stabilityai/stable-diffusion-3-medium-diffusers"


def peak_resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_sd3_medium_at_512() -> None:
    if free_memory() < 13 * 2**30:
        pytest.skip("needs 13 GiB of free memory")
    model = Blueprint(HUB_ID)
    setup = TrainingSetup(
        SIDE,
        SIDE,
        1,
        WaveletFlow(),
        gradient_checkpointing=True,
        weights=BF16,
        moments=0,
    )
    forward = denoising_stage(model, SIDE, SIDE, BF16, guided=False, gpu=False)

    transformer = build_published(HUB_ID, "transformer", dtype=BF16).to_empty(device="cpu")
    for tensor in [*transformer.parameters(), *transformer.buffers()]:
        torch.nn.init.normal_(tensor.data, std=0.02)
    weights = sum(t.numel() for t in [*transformer.parameters(), *transformer.buffers()]) * 2
    conditioning = {
        name: torch.randn(tensor.shape).to(BF16)
        for name, tensor in model.family.empty_conditioning(model.folder, 1).items()
    }
    latents, noise = torch.randn(2, 1, 16, SIDE // 16, SIDE // 16).to(BF16)
    sigma = torch.tensor([0.5], dtype=BF16)

    @torch.no_grad()
    def predict() -> None:
        model.family.velocity(transformer, latents, sigma, conditioning)

    real = weights + allocated_peak(predict)
    told = forward.peak - forward.parts["autoencoder"]
    print(f"forward: planned {told / 2**30:.3f} GiB, allocated {real / 2**30:.3f} GiB")
    assert told == pytest.approx(real, rel=0.1)

    transformer.requires_grad_(True).train()

    def step() -> None:
        loss = denoising_loss(
            model.family,
            transformer,
            WaveletFlow(),
            latents=latents,
            conditioning=conditioning,
            noise=noise,
            sigma=sigma,
        ).mean()
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in transformer.parameters())
        torch.optim.SGD(transformer.parameters(), lr=1e-6).step()
        transformer.zero_grad()

    for checkpointing in (True, False):
        if checkpointing:
            transformer.enable_gradient_checkpointing()
        else:
            transformer.disable_gradient_checkpointing()
        setup = replace(setup, gradient_checkpointing=checkpointing)
        planned, _ = training_stages(model, setup, gpu=False)
        real = weights + allocated_peak(step)
        print(
            f"training step, gradient checkpointing {checkpointing}: "
            f"planned {planned.peak / 2**30:.3f} GiB, allocated {real / 2**30:.3f} GiB, "
            f"peak of the process {peak_resident() / 2**30:.2f} GiB"
        )
        assert planned.peak == pytest.approx(real, rel=0.1)
