r"""How large an error is: what every coefficient r is replaced by before the mean.

The pseudo-Huber norm c^2 (sqrt(1 + (r/c)^2) - 1) is r^2 / 2 for small r and c |r| for large ones:
an outlier pulls with the force c at most. It is computed as r^2 / (1 + sqrt(1 + (r/c)^2)), the same
without a difference of nearly equal numbers; for c to infinity it is half the squared error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from diffusion4k.config.part import Part
from diffusion4k.config.types import Positive, Probability
from diffusion4k.objectives.weightings import signal_to_noise

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Absolute", "Norm", "PseudoHuber", "SnrHuber", "Squared"]


class Norm(Protocol):
    """An even function of every coefficient."""

    def __call__(self, error: Tensor, sigma: Tensor) -> Tensor:
        """Norm of each `error`, in its shape, at noise levels that broadcast with it."""
        ...


@dataclass(frozen=True)
class Squared(Part, Norm):
    """r^2."""

    name = "squared"

    def __call__(self, error: Tensor, sigma: Tensor) -> Tensor:
        """See `Norm`."""
        return error.square()


@dataclass(frozen=True)
class Absolute(Part, Norm):
    """|r| (L1), with gradient 0 at r = 0."""

    name = "l1"

    def __call__(self, error: Tensor, sigma: Tensor) -> Tensor:
        """See `Norm`."""
        return error.abs()


@dataclass(frozen=True)
class PseudoHuber(Part, Norm):
    """c^2 (sqrt(1 + (r/c)^2) - 1) with one c, as Song and Dhariwal, arXiv 2310.14189."""

    name = "pseudo-huber"
    c: Positive = 1.0

    def __call__(self, error: Tensor, sigma: Tensor) -> Tensor:
        """See `Norm`."""
        square = error.square()
        return square / (1 + (1 + square / self.c**2).sqrt())


@dataclass(frozen=True)
class SnrHuber(Part, Norm):
    """Pseudo-Huber whose c grows with the signal: UltraFlux, arXiv 2511.18050, eq. 12.

        c(sigma) = c_min + (c_max - c_min) (min(SNR, gamma) / gamma)^alpha

    so that it is robust where there is much noise. Their table 9 gives c_min and c_max; gamma is
    that of Min-SNR, and alpha, which they leave open in [0, 1], is the middle.
    """

    name = "snr-huber"
    c_min: Positive = 0.2
    c_max: Positive = 1.0
    gamma: Positive = 5.0
    alpha: Probability = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.c_max < self.c_min:
            raise ValueError(f"c_max must be at least c_min={self.c_min}, got {self.c_max}")

    def threshold(self, sigma: Tensor) -> Tensor:
        """c of every noise level."""
        share = signal_to_noise(sigma).clamp(max=self.gamma) / self.gamma
        return self.c_min + (self.c_max - self.c_min) * share**self.alpha

    def __call__(self, error: Tensor, sigma: Tensor) -> Tensor:
        """See `Norm`."""
        square = error.square()
        return square / (1 + (1 + square / self.threshold(sigma).square()).sqrt())
