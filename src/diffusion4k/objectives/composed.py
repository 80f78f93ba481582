r"""Objectives out of four parts: weighting, transform, norm and mask.

The error is v - (noise - x) of the velocity, or sigma times it: the error of the clean latents that
follow from the velocity, as x0 = z - sigma v gives x0 - x = sigma ((noise - x) - v). All norms are
even, so that the sign does not matter. Transforms are linear: taken once, of the error, they give
what two transforms, of prediction and target, would.

    loss = weighting(sigma) / N * sum_b w_b(sigma) sum_i norm(transform(mask * error)_{b,i})

with b the sub-bands, w_b their weights and N the number of all coefficients, also of those that the
mask leaves out. Weights are not normalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from diffusion4k.config.part import Part, Unnamed
from diffusion4k.objectives.masks import EnergyMask, Mask
from diffusion4k.objectives.norms import Norm, Squared
from diffusion4k.objectives.transforms import Identity, Transform, Wavelet
from diffusion4k.objectives.weightings import Constant, Weighting

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Composed", "Objective", "velocity_error"]


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
class Composed(Part, Objective):
    """An objective of these parts; without any it is plain flow matching.

    Args:
        space: `latents`, error of the estimated clean latents; `velocity`, error of the velocity.
        weighting: of the whole loss, by noise level.
        transform: what the error is taken apart into, with weights.
        norm: of each coefficient.
        mask: of the positions in the latents, before the transform.

    Raises:
        ValueError: unknown space.
    """

    name = "composed"
    space: Literal["latents", "velocity"] = "velocity"
    weighting: Weighting = field(default_factory=Constant)
    transform: Annotated[Transform, Unnamed("wavelet")] = field(default_factory=Identity)
    norm: Norm = field(default_factory=Squared)
    mask: Annotated[Mask | None, Unnamed("energy")] = None

    @property
    def levels(self) -> int:
        """Height and width of the latents must be multiples of 2^levels."""
        levels = self.transform.levels if isinstance(self.transform, Wavelet) else 0
        return max(levels, 1 if isinstance(self.mask, EnergyMask) else 0)

    def __call__(
        self, velocity: Tensor, *, latents: Tensor, noise: Tensor, sigma: Tensor
    ) -> Tensor:
        """See `Objective`."""
        from torch import cat

        error = velocity_error(velocity, latents, noise, sigma)
        sigma = sigma.to(error)
        if self.space == "latents":
            error = error * sigma.view(-1, 1, 1, 1)
        if self.mask is not None:
            error = error * self.mask(latents, noise, sigma)
        level = sigma.view(-1, 1, 1)
        sums = [self.norm(bands, level).sum(dim=2) for bands in self.transform(error)]
        weighted = cat(sums, dim=1) * self.transform.weights(sigma)
        return self.weighting(sigma) * weighted.sum(dim=1) / math.prod(error.shape[1:])


def velocity_error(velocity: Tensor, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """`v - (noise - x)` in at least float32, after a check of all shapes."""
    if velocity.dim() != 4 or not velocity.shape == latents.shape == noise.shape:
        raise ValueError(
            "velocity, latents and noise must have one shape (B, C, H, W), got "
            f"{tuple(velocity.shape)}, {tuple(latents.shape)}, {tuple(noise.shape)}"
        )
    if sigma.shape != velocity.shape[:1]:
        raise ValueError(f"sigma must have shape ({velocity.shape[0]},), got {tuple(sigma.shape)}")
    from torch import float32, promote_types

    # Differences of 16-bit numbers lose most of their digits when the error is small.
    wide = promote_types(velocity.dtype, float32)
    return velocity.to(wide) - (noise.to(wide) - latents.to(wide))
