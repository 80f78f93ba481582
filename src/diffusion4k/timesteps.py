r"""Distributions of the noise level sigma in training.

Three of Esser et al. (arXiv 2403.03206, section 3.1), and one for fine detail.

sigma lies in (0, 1); z = (1 - sigma) x + sigma noise. A resolution shift s (their eq. 23) maps
sigma to s sigma / (1 + (s - 1) sigma): more noise for s > 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Protocol

from diffusion4k.config.part import OrWord, Part, check_range
from diffusion4k.config.types import Number, Positive

if TYPE_CHECKING:  # a recipe is read without waiting for torch
    import torch
    from torch import Generator, Tensor

__all__ = [
    "Beta",
    "LogitNormal",
    "Mode",
    "StageTimesteps",
    "TimestepDistribution",
    "Uniform",
    "shift_sigma",
]

# Sigma must stay inside (0, 1) in float32, also after a shift.
_EDGE = 1e-6


class TimestepDistribution(Protocol):
    """Draws noise levels."""

    def sample(
        self,
        batch: int,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """`batch` values of sigma in (0, 1), float32 `(batch,)`.

        They are drawn on the generator's device (else the CPU), so that a seed means the same
        values wherever they are used, and moved to `device`, if one is given.
        """
        ...


def shift_sigma(sigma: Tensor, shift: float) -> Tensor:
    """`shift * sigma / (1 + (shift - 1) * sigma)`, of any shape.

    Raises:
        ValueError: shift is not positive.
    """
    check_range("shift", shift, Positive)
    return shift * sigma / (1 + (shift - 1) * sigma)


@dataclass(frozen=True)
class Shifted(Part, TimestepDistribution):
    """Base of the distributions with a resolution shift, each a map of plain random numbers.

    Args:
        shift: more noise above 1; a recipe may say `auto`, the shift with which the model samples
            images of the crop's size.
    """

    key = "distribution"
    shift: Annotated[Positive, OrWord("auto")] = field(default=1.0, kw_only=True)

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """sigma in [0, 1] before the shift, `(B,)` like the numbers drawn."""

    def drawn(self, batch: int, generator: Generator | None) -> Tensor:
        """The numbers that `quantile` maps, `(batch,)`: uniform ones in [0, 1)."""
        import torch

        return torch.rand(batch, generator=generator, device=_device(generator))

    def sample(
        self,
        batch: int,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """See `TimestepDistribution.sample`."""
        sigma = self.quantile(self.drawn(batch, generator))
        shifted = shift_sigma(sigma.clamp(_EDGE, 1 - _EDGE), self.shift)
        return shifted.clamp(_EDGE, 1 - _EDGE).to(device)


@dataclass(frozen=True)
class LogitNormal(Shifted):
    """logit(sigma) is normal with `mean` and `std`; Esser et al. choose (0, 1)."""

    name = "logit-normal"
    mean: Number = 0.0
    std: Positive = 1.0

    def quantile(self, u: Tensor) -> Tensor:
        """See `Shifted`; `u` is normal."""
        return (self.mean + self.std * u).sigmoid()

    def drawn(self, batch: int, generator: Generator | None) -> Tensor:
        """Standard normal numbers."""
        import torch

        return torch.randn(batch, generator=generator, device=_device(generator))


@dataclass(frozen=True)
class Uniform(Shifted):
    """sigma is uniform."""

    name = "uniform"

    def quantile(self, u: Tensor) -> Tensor:
        """See `Shifted`."""
        return u


@dataclass(frozen=True)
class Mode(Shifted):
    """sigma = 1 - u - scale (cos^2(pi u / 2) - 1 + u) of a uniform u; heavier in the middle.

    `scale` lies in [-1, 2 / (pi - 2)], where the map is monotonic; 1.29 is the best of Esser et al.
    """

    name = "mode"
    scale: Number = 1.29

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 <= self.scale <= 2 / (math.pi - 2):
            raise ValueError(f"scale must lie in [-1, {2 / (math.pi - 2):.3f}], got {self.scale}")

    def quantile(self, u: Tensor) -> Tensor:
        """See `Shifted`."""
        return 1 - u - self.scale * ((math.pi / 2 * u).cos().square() - 1 + u)


@dataclass(frozen=True)
class Beta(Shifted):
    """sigma ~ Beta(alpha, beta): (2, 4) is the detail-oriented timestep sampling of UltraHR-100K.

    Zhao et al., arXiv 2510.20661. Beta(2, 4) has its mode at 1/4 and its mean at 1/3: more of the
    low noise levels, at which a model makes the fine detail. Drawn as the quantiles of uniform
    values, so that a seed means the same values on every machine.
    """

    name = "beta"
    alpha: Positive = 2.0
    beta: Positive = 4.0

    def quantile(self, u: Tensor) -> Tensor:
        """See `Shifted`."""
        import torch
        from scipy.special import betaincinv

        sigma = betaincinv(self.alpha, self.beta, u.double().cpu().numpy())
        return torch.from_numpy(sigma).to(u.device, torch.float32)


def _device(generator: Generator | None) -> torch.device | str:
    return generator.device if generator is not None else "cpu"


@dataclass(frozen=True)
class StageTimesteps:
    """A distribution of noise levels, scaled to those below the `start` of a stage of sampling."""

    whole: TimestepDistribution
    start: float

    def sample(
        self,
        batch: int,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """See `TimestepDistribution`."""
        return self.start * self.whole.sample(batch, generator, device)
