"""Batches to measure, and one objective of every kind of part."""

import torch

from diffusion4k.objectives import (
    Composed,
    FlowMatching,
    LatentWaveletDiffusion,
    SnrHuberWavelet,
    WaveletFlow,
)
from diffusion4k.objectives.masks import EnergyMask
from diffusion4k.objectives.norms import Absolute, PseudoHuber
from diffusion4k.objectives.transforms import Bands, Wavelet
from diffusion4k.objectives.weightings import (
    CosMap,
    InverseSigmaSquared,
    MinSnr,
    PathMinSnr,
    SigmaSquared,
)

EARLY = Bands(1, ((1, 2, 3), (0.5, 1, 2)), sigma=0.2)
LATE = Bands(2, ((1, 1, 0), (1, 1, 1)), sigma=0.7)
EVERY_PART = [
    FlowMatching(),
    WaveletFlow(),
    WaveletFlow("db2", "velocity", (1, 2, 0.5, 3)),
    SnrHuberWavelet(),
    SnrHuberWavelet(beta=0),
    LatentWaveletDiffusion(),
    Composed(weighting=SigmaSquared(), norm=Absolute()),
    Composed("latents", MinSnr(), Wavelet("haar", 2, (EARLY, LATE)), PseudoHuber(0.3)),
    Composed("latents", InverseSigmaSquared(), mask=EnergyMask(of="noisy")),
    Composed("latents", PathMinSnr(), Wavelet("db2", 2), Absolute(), EnergyMask()),
    Composed(weighting=CosMap(), transform=Wavelet("sym4", 2, (EARLY,))),
]


def draw(seed: int, shape=(3, 4, 8, 6), dtype=torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    velocity, latents, noise = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3)
    )
    sigma = torch.rand(shape[0], generator=generator, dtype=torch.float64)
    return {"velocity": velocity, "latents": latents, "noise": noise, "sigma": sigma}
