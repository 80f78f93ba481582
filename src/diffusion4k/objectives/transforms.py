r"""What the error is taken apart into before it is measured, and the weight of each part.

Of L levels of a wavelet transform the sub-bands are LH, HL, HH of level 1 (the finest), ..., of
level L (the coarsest), and one LL, what is left. An orthonormal wavelet keeps the sum of squares
(Parseval): with equal weights and the squared norm it changes nothing, at any number of levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias

from pydantic import Field

from diffusion4k.config.part import REQUIRED, Part
from diffusion4k.config.types import Count, NonNegative, Probability, Text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Bands", "Identity", "Transform", "Wavelet"]

Level: TypeAlias = tuple[NonNegative, NonNegative, NonNegative]
"""Weights of LH, HL, HH."""


class Transform(Protocol):
    """A linear map of the error, in bands."""

    def __call__(self, error: Tensor) -> Sequence[Tensor]:
        """Groups of bands of equal size, each `(B, bands, coefficients)`, for `(B, C, H, W)`."""
        ...

    def weights(self, sigma: Tensor) -> Tensor:
        """Band weights at noise levels `sigma` `(B,)`, ordered by group, `(B or 1, all)`."""
        ...


@dataclass(frozen=True)
class Identity(Part, Transform):
    """The error as it is: one band of weight 1."""

    name = "identity"

    def __call__(self, error: Tensor) -> Sequence[Tensor]:
        """See `Transform`."""
        return [error.flatten(1).unsqueeze(1)]

    def weights(self, sigma: Tensor) -> Tensor:
        """See `Transform`."""
        return sigma.new_ones(1, 1)


@dataclass(frozen=True)
class Bands(Part):
    """Weights of the sub-bands at one noise level.

    Args:
        low: of LL.
        detail: of LH, HL, HH for each level, the finest first.
        sigma: the noise level.

    Raises:
        ValueError: a weight is negative or not finite, all are 0, or sigma is not in [0, 1].
    """

    low: NonNegative = 1.0
    detail: tuple[Level, ...] = field(default=((1.0, 1.0, 1.0),), metadata=REQUIRED)
    sigma: Probability = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = [self.low, *(weight for level in self.detail for weight in level)]
        threes = all(len(level) == 3 for level in self.detail)
        allowed = all(math.isfinite(weight) and weight >= 0 for weight in weights)
        if not threes or not allowed or not any(weights):
            raise ValueError(
                "bands: weights must be finite and not negative, three a level, not all 0, got "
                f"low {self.low}, detail {[list(level) for level in self.detail]}"
            )

    @property
    def row(self) -> list[float]:
        """All weights in the order of `Wavelet`'s bands."""
        finer, coarsest = self.detail[:-1], self.detail[-1]
        return [*(weight for level in finer for weight in level), self.low, *coarsest]


@dataclass(frozen=True)
class Wavelet(Part, Transform):
    """Sub-bands of a wavelet transform.

    Args:
        wavelet: name of a discrete PyWavelets filter bank.
        levels: 1 to 10; height and width must be multiples of 2^levels.
        bands: none: all weights are 1. One: these weights. Several, of rising sigma: weights linear
            in sigma between them, and those of the nearest beyond.

    Raises:
        ValueError: an argument out of its range.
    """

    name = "wavelet"
    wavelet: Text = "haar"
    levels: Annotated[Count, Field(le=10)] = 1
    bands: tuple[Bands, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        from diffusion4k.wavelet import is_orthonormal

        is_orthonormal(self.wavelet)  # refuses an unknown wavelet
        for each in self.bands:
            if len(each.detail) != self.levels:
                raise ValueError(
                    f"bands: detail must have levels={self.levels} entries of LH, HL, HH, got "
                    f"{len(each.detail)}"
                )
        sigmas = [each.sigma for each in self.bands]
        if any(b <= a for a, b in itertools.pairwise(sigmas)):
            raise ValueError(f"bands: sigma must rise from each to the next, got {sigmas}")

    def __call__(self, error: Tensor) -> Sequence[Tensor]:
        """See `Transform`."""
        from diffusion4k.wavelet import dwt2

        step = 2**self.levels
        if error.shape[2] % step or error.shape[3] % step:
            raise ValueError(
                f"height and width must be multiples of {step} for {self.levels} levels, got "
                f"{tuple(error.shape[2:])}"
            )
        groups, low = [], error
        for _ in range(self.levels - 1):
            low, detail = dwt2(low, self.wavelet).split((low.shape[1], 3 * low.shape[1]), dim=1)
            groups.append(detail.unflatten(1, (3, -1)).flatten(2))
        return [*groups, dwt2(low, self.wavelet).unflatten(1, (4, -1)).flatten(2)]

    def weights(self, sigma: Tensor) -> Tensor:
        """See `Transform`."""
        if not self.bands:
            return sigma.new_ones(1, 1)
        rows = sigma.new_tensor([each.row for each in self.bands])
        weights = rows[:1]
        for i, (here, there) in enumerate(itertools.pairwise(self.bands)):
            passed = ((sigma - here.sigma) / (there.sigma - here.sigma)).clamp(0, 1)
            weights = weights + passed.outer(rows[i + 1] - rows[i])
        return weights
