r"""The objectives that have a name in a paper: plain flow matching, and compositions.

**An identity to know.** An orthonormal wavelet keeps the L2 norm (Parseval), so with equal band
weights the wavelet of `WaveletFlow` changes nothing:

    WaveletFlow(space="velocity") = FlowMatching
    WaveletFlow(space="latents")  = mean((x0 - x)^2) = sigma^2 FlowMatching

What the paper's objective adds to plain flow matching is the weight sigma^2 and nothing about
frequencies. A frequency effect needs unequal weights, another norm, or a mask. The transform is
taken with equal weights too: no hidden short cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from diffusion4k.config.part import Part
from diffusion4k.config.types import NonNegative, Positive, Probability, Text, not_all_zero
from diffusion4k.objectives.composed import Composed, Objective, velocity_error
from diffusion4k.objectives.masks import EnergyMask
from diffusion4k.objectives.norms import SnrHuber
from diffusion4k.objectives.transforms import Bands, Wavelet
from diffusion4k.objectives.weightings import PathMinSnr

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FlowMatching", "LatentWaveletDiffusion", "SnrHuberWavelet", "WaveletFlow"]


@dataclass(frozen=True)
class FlowMatching(Part, Objective):
    """Plain flow matching: the mean squared error of the velocity, weight 1 for every sigma."""

    name = "flow-matching"
    levels: ClassVar[int] = 0

    def __call__(
        self, velocity: Tensor, *, latents: Tensor, noise: Tensor, sigma: Tensor
    ) -> Tensor:
        """See `Objective`."""
        return velocity_error(velocity, latents, noise, sigma).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class _Named(Part, Objective):
    """A composition with arguments of its own, made once from them."""

    composed: Composed = field(init=False, repr=False, compare=False)

    def _compose(self, composed: Composed) -> None:
        object.__setattr__(self, "composed", composed)

    @property
    def levels(self) -> int:
        """Height and width of the latents must be multiples of 2^levels."""
        return self.composed.levels

    def __call__(
        self, velocity: Tensor, *, latents: Tensor, noise: Tensor, sigma: Tensor
    ) -> Tensor:
        """See `Objective`. Height and width must be even."""
        return self.composed(velocity, latents=latents, noise=noise, sigma=sigma)


@dataclass(frozen=True)
class WaveletFlow(_Named):
    """Wavelet-based latent fine-tuning (WLF): the squared error of weighted sub-bands.

    Diffusion-4K, arXiv 2503.18352, eq. 4, either of the velocity, as the paper writes it, or of the
    clean latents estimated from it, x0 = z - sigma v, as the reference implementation computes it.

    Args:
        wavelet: name of a discrete PyWavelets filter bank.
        space: `velocity`, error of the velocity; `latents`, error of the estimated clean latents.
        band_weights: of the squared errors of LL, LH, HL, HH; finite, not negative, not all 0.
            The loss is the mean over all coefficients of weight times squared error.

    Raises:
        ValueError: an argument out of its range.
    """

    name = "wavelet-flow"
    wavelet: Text = "haar"
    space: Literal["latents", "velocity"] = "velocity"
    band_weights: Annotated[
        tuple[NonNegative, NonNegative, NonNegative, NonNegative], not_all_zero
    ] = (1.0, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = tuple(float(weight) for weight in self.band_weights)
        allowed = all(math.isfinite(weight) and weight >= 0 for weight in weights)
        if len(weights) != 4 or not allowed or not any(weights):
            raise ValueError(
                "band_weights must be four finite numbers >= 0 (LL, LH, HL, HH), not all 0, got "
                f"{list(self.band_weights)}"
            )
        object.__setattr__(self, "band_weights", weights)
        low, *detail = weights
        bands = Bands(low, ((detail[0], detail[1], detail[2]),))
        transform = Wavelet(self.wavelet, bands=(bands,))
        self._compose(Composed(space=self.space, transform=transform))


@dataclass(frozen=True)
class SnrHuberWavelet(_Named):
    """SNR-aware Huber wavelet: UltraFlux, arXiv 2511.18050, eq. 11-14.

    The pseudo-Huber norm of the one-level sub-bands of the clean latents' error, with a threshold
    c(sigma) that grows with the signal (`norms.SnrHuber`) and the weight
    sigma / (1 - sigma) min(SNR, gamma)^beta (`weightings.PathMinSnr`, which says how it is
    bounded). For c to infinity and beta = 0 it is flow matching weighted by
    sigma^3 / (2 (1 - sigma)), not plain flow matching as the paper has it.

    Args:
        wavelet: name of a discrete PyWavelets filter bank.
        c_min, c_max: the threshold without signal and with SNR >= gamma; 0 < c_min <= c_max.
        gamma: largest SNR that counts.
        alpha: in [0, 1], how the threshold follows the signal.
        beta: not negative, how the weight follows the signal.

    Raises:
        ValueError: an argument out of its range.
    """

    name = "snr-huber-wavelet"
    wavelet: Text = "haar"
    c_min: Positive = 0.2
    c_max: Positive = 1.0
    gamma: Positive = 5.0
    alpha: Probability = 0.5
    beta: NonNegative = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._compose(
            Composed(
                space="latents",
                weighting=PathMinSnr(self.gamma, self.beta),
                transform=Wavelet(self.wavelet),
                norm=SnrHuber(self.c_min, self.c_max, self.gamma, self.alpha),
            )
        )


@dataclass(frozen=True)
class LatentWaveletDiffusion(_Named):
    """Latent wavelet diffusion (LWD), arXiv 2506.00433, eq. 7: flow matching where detail is.

    The squared error of the velocity times `masks.EnergyMask`, mean over all positions.

    Args:
        lower: noise level up to which all positions learn, in [0, 1].
        of: what the mask is computed from, `latents` or `noisy`.

    Raises:
        ValueError: an argument out of its range.
    """

    name = "lwd"
    lower: Probability = 0.3
    of: Literal["latents", "noisy"] = "latents"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._compose(Composed(mask=EnergyMask(self.lower, self.of)))
