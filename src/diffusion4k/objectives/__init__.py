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

A recipe's sections follow from these classes, and it is read without waiting for torch: so torch is
imported where it computes.
"""

import importlib
import pkgutil

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

# A recipe knows every part that stands in a file of this folder (see `config.part`).
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
