r"""How much a noise level counts: factors of the loss, functions of sigma.

A weighting multiplies the error of the objective's space. With squared errors, one of the clean
latents is sigma^2 one of the velocity, so that

    weighting w on the latents = weighting sigma^2 w on the velocity.

The signal-to-noise ratio of z = (1 - sigma) x + sigma noise is SNR = (1 - sigma)^2 / sigma^2.
Whatever divides by sigma or 1 - sigma takes sigma no nearer to 0 and 1 than 1/1000, the ends of a
schedule of 1000 steps: so every weight is finite for every sigma in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from diffusion4k.config.part import Part
from diffusion4k.config.types import NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Constant",
    "CosMap",
    "InverseSigmaSquared",
    "MinSnr",
    "PathMinSnr",
    "SigmaSquared",
    "Weighting",
    "signal_to_noise",
]

_EDGE = 1e-3


class Weighting(Protocol):
    """A factor of the loss for each noise level."""

    def __call__(self, sigma: Tensor) -> Tensor:
        """Weights at noise levels `sigma` in [0, 1], float32 or float64: same shape, finite."""
        ...


def signal_to_noise(sigma: Tensor) -> Tensor:
    """((1 - sigma) / sigma)^2, finite and above 0 (see the top of this file)."""
    inside = _inside(sigma)
    return ((1 - inside) / inside).square()


@dataclass(frozen=True)
class Constant(Part, Weighting):
    """1 for every sigma: on the velocity plain flow matching, on the latents sigma^2 of it."""

    name = "constant"

    def __call__(self, sigma: Tensor) -> Tensor:
        """See `Weighting`."""
        return sigma.new_ones(sigma.shape)


@dataclass(frozen=True)
class SigmaSquared(Part, Weighting):
    """sigma^2: on the velocity all that the paper's wavelet objective adds to flow matching.

    Diffusion-4K, arXiv 2503.18352; see `named.WaveletFlow` for the identity.
    """

    name = "sigma-squared"

    def __call__(self, sigma: Tensor) -> Tensor:
        """See `Weighting`."""
        return sigma.square()


@dataclass(frozen=True)
class InverseSigmaSquared(Part, Weighting):
    """1 / sigma^2, `sigma_sqrt` in the training scripts of Stable Diffusion 3.

    Meant for the latents, where it restores plain flow matching, except for sigma below 1/1000.
    """

    name = "inverse-sigma-squared"

    def __call__(self, sigma: Tensor) -> Tensor:
        """See `Weighting`."""
        return _inside(sigma).square().reciprocal()


@dataclass(frozen=True)
class CosMap(Part, Weighting):
    """2 / (pi (1 - 2 sigma + 2 sigma^2)), the density `cosmap` of Esser et al.

    arXiv 2403.03206, eq. 21. Meant for the velocity: in the mean over uniform sigmas it is the same
    as to draw sigma from that density. Between 2/pi at the ends and 4/pi at 1/2.
    """

    name = "cosmap"

    def __call__(self, sigma: Tensor) -> Tensor:
        """See `Weighting`."""
        return 2 / (math.pi * (1 - 2 * sigma + 2 * sigma.square()))


@dataclass(frozen=True)
class MinSnr(Part, Weighting):
    """min(SNR, gamma), Hang et al., arXiv 2303.09556.

    They weigh the error of the clean estimate, so it is meant for the latents. In flow matching,
    sigma^2 min(SNR, gamma) = min((1 - sigma)^2, gamma sigma^2) is its weight on the velocity: it
    falls to 0 at both ends.
    """

    name = "min-snr"
    gamma: Positive = 5.0

    def __call__(self, sigma: Tensor) -> Tensor:
        """See `Weighting`."""
        return signal_to_noise(sigma).clamp(max=self.gamma)


@dataclass(frozen=True)
class PathMinSnr(Part, Weighting):
    """sigma / (1 - sigma) * min(SNR, gamma)^beta of UltraFlux, arXiv 2511.18050, eq. 11.

    Meant for the latents. For `beta` >= 1/2 it is at most gamma^(beta - 1/2), reached where
    SNR = gamma. For smaller ones it grows as (sigma / (1 - sigma))^(1 - 2 beta) towards sigma = 1,
    up to 999^(1 - 2 beta). The paper does not state gamma and beta; with beta = 1 both ends get
    weight 0, as its text wants ("emphasizes mid-SNR timesteps").
    """

    name = "path-min-snr"
    gamma: Positive = 5.0
    beta: NonNegative = 1.0

    def __call__(self, sigma: Tensor) -> Tensor:
        """See `Weighting`."""
        inside = _inside(sigma)
        capped = signal_to_noise(sigma).clamp(max=self.gamma)
        return inside / (1 - inside) * capped**self.beta


def _inside(sigma: Tensor) -> Tensor:
    return sigma.clamp(_EDGE, 1 - _EDGE)
