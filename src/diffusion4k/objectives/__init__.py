r"""What the network's velocity is compared with, and how the error is weighed.

With z = (1 - sigma) x + sigma noise the velocity target is noise - x. Every objective here is one
composition of four parts, `composed.Composed`:

    weighting(sigma) * mean over coefficients of  norm(transform(mask * error))

- the error, of the velocity or of the clean latents (`space`);
- `masks`: which positions of the latents count;
- `transforms`: none, or the sub-bands of a wavelet with a weight each;
- `norms`: squared, absolute, pseudo-Huber;
- `weightings`: how much a noise level counts.

Those that have a name in a paper are in `named`: plain flow matching, wavelet-based latent
fine-tuning (WLF), the SNR-aware Huber wavelet, latent wavelet diffusion (LWD).
"""

from diffusion4k.objectives.composed import Composed, Objective
from diffusion4k.objectives.named import (
    FlowMatching,
    LatentWaveletDiffusion,
    SnrHuberWavelet,
    WaveletFlow,
)

__all__ = [
    "Composed",
    "FlowMatching",
    "LatentWaveletDiffusion",
    "Objective",
    "SnrHuberWavelet",
    "WaveletFlow",
]
