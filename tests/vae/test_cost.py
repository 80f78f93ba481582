"""What a lean decode is said to take, against what it takes."""

import pytest
import torch

from benchmarks.measured import allocated_peak, counted_flops
from benchmarks.tiny import tiny_autoencoder
from diffusion4k.vae import PartitionedAutoencoderKL, decode_strips
from diffusion4k.vae.cost import decode_cost


@pytest.mark.parametrize("f16", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_and_flops_without_a_limit(f16: bool, dtype: torch.dtype) -> None:
    autoencoder = tiny_autoencoder()
    if f16:
        autoencoder = PartitionedAutoencoderKL.from_autoencoder(autoencoder)
    autoencoder = autoencoder.to(dtype)
    side = 64 if f16 else 128
    latents = torch.randn(1, 16, side, side, dtype=dtype)

    def run() -> None:
        for _ in decode_strips(autoencoder, latents):
            pass

    run()
    cost = decode_cost(autoencoder, side, side)
    assert cost.flops == pytest.approx(counted_flops(run), rel=0.02)
    assert cost.memory == pytest.approx(allocated_peak(run), rel=0.1)


@pytest.mark.parametrize("limit", [6 * 2**20, 16 * 2**20])
def test_memory_within_a_limit(limit: int) -> None:
    autoencoder = PartitionedAutoencoderKL.from_autoencoder(tiny_autoencoder())
    latents = torch.randn(1, 16, 64, 64)

    def run() -> None:
        for _ in decode_strips(autoencoder, latents, limit):
            pass

    run()
    real = allocated_peak(run)
    cost = decode_cost(autoencoder.to("meta"), 64, 64, limit)
    assert cost.memory == pytest.approx(real, rel=0.1)
    assert cost.memory < decode_cost(autoencoder, 64, 64).memory
