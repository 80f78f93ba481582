r"""What the network's velocity is compared with, and how the error is weighed.

With z = (1 - sigma) x + sigma noise the velocity target is noise - x. Two objectives:

- `FlowMatching`:  mean((v - (noise - x))^2).
- `WaveletFlow` (wavelet-based latent fine-tuning, WLF; Diffusion-4K, arXiv 2503.18352, eq. 4):
  the squared error of the sub-bands of a one-level wavelet transform, either of the velocity, as
  the paper writes it, or of the clean latents estimated from it, x0 = z - sigma v, as the
  reference implementation computes it.

**An identity to know.** An orthonormal wavelet keeps the L2 norm (Parseval), so with equal band
weights the wavelet changes nothing:

    WaveletFlow(space="velocity") = FlowMatching
    WaveletFlow(space="latents")  = mean((x0 - x)^2) = sigma^2 FlowMatching

What the paper's objective adds to plain flow matching is the weight sigma^2 and nothing about
frequencies. A frequency effect needs unequal `band_weights`.

The transform is linear, so it is taken once, of the residual, which is exact and halves the work:
DWT(x0) - DWT(x) = DWT(x0 - x) and x0 - x = sigma ((noise - x) - v). It is taken with equal weights
too: no hidden short cut.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from diffusion4k.wavelet import dwt2, is_orthonormal

__all__ = ["FlowMatching", "Objective", "WaveletFlow"]


class Objective(Protocol):
    """A loss per sample."""

    def __call__(
        self, velocity: Tensor, *, latents: Tensor, noise: Tensor, sigma: Tensor
    ) -> Tensor:
        """The loss of each sample.

        Args:
            velocity: the network's prediction, `(B, C, H, W)`.
            latents: clean normalised latents x, of the same shape.
            noise: of the same shape.
            sigma: noise level in [0, 1], `(B,)`.

        Returns:
            float32 (float64 for float64 input) `(B,)`.

        Raises:
            ValueError: shapes that do not fit.
        """
        ...


@dataclass(frozen=True)
class FlowMatching:
    """Plain flow matching: the mean squared error of the velocity, weight 1 for every sigma."""

    def __call__(
        self, velocity: Tensor, *, latents: Tensor, noise: Tensor, sigma: Tensor
    ) -> Tensor:
        """See `Objective`."""
        return _residual(velocity, latents, noise, sigma).square().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class WaveletFlow:
    """Wavelet-based latent fine-tuning: the squared error of weighted sub-bands.

    Args:
        wavelet: name of a discrete PyWavelets filter bank.
        space: `latents`, error of the estimated clean latents; `velocity`, error of the velocity.
        band_weights: of the squared errors of LL, LH, HL, HH; finite, not negative, not all 0.
            The loss is the mean over all coefficients of weight times squared error.

    Raises:
        ValueError: an argument out of its range.
    """

    wavelet: str = "haar"
    space: Literal["latents", "velocity"] = "latents"
    band_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        is_orthonormal(self.wavelet)  # refuses an unknown wavelet
        if self.space not in ("latents", "velocity"):
            raise ValueError(f"space must be latents or velocity, got {self.space!r}")
        weights = tuple(float(weight) for weight in self.band_weights)
        allowed = all(math.isfinite(weight) and weight >= 0 for weight in weights)
        if len(weights) != 4 or not allowed or not any(weights):
            raise ValueError(
                "band_weights must be four finite numbers >= 0 (LL, LH, HL, HH), not all 0, got "
                f"{list(self.band_weights)}"
            )
        object.__setattr__(self, "band_weights", weights)

    def __call__(
        self, velocity: Tensor, *, latents: Tensor, noise: Tensor, sigma: Tensor
    ) -> Tensor:
        """See `Objective`. Height and width must be even."""
        residual = _residual(velocity, latents, noise, sigma)
        errors = dwt2(residual, self.wavelet).square()
        bands = errors.unflatten(1, (4, -1)).mean(dim=(2, 3, 4))
        loss = (bands * bands.new_tensor(self.band_weights)).mean(dim=1)
        return loss * sigma.to(loss).square() if self.space == "latents" else loss


def _residual(velocity: Tensor, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """`v - (noise - x)` in at least float32, after a check of all shapes."""
    if velocity.dim() != 4 or not velocity.shape == latents.shape == noise.shape:
        raise ValueError(
            "velocity, latents and noise must have one shape (B, C, H, W), got "
            f"{tuple(velocity.shape)}, {tuple(latents.shape)}, {tuple(noise.shape)}"
        )
    if sigma.shape != velocity.shape[:1]:
        raise ValueError(f"sigma must have shape ({velocity.shape[0]},), got {tuple(sigma.shape)}")
    # Differences of 16-bit numbers lose most of their digits when the error is small.
    wide = torch.promote_types(velocity.dtype, torch.float32)
    return velocity.to(wide) - (noise.to(wide) - latents.to(wide))
