r"""Distributions of the noise level sigma in training.

Three of Esser et al. (arXiv 2403.03206, section 3.1), and one for fine detail.

sigma lies in (0, 1); z = (1 - sigma) x + sigma noise. A resolution shift s (their eq. 23) maps
sigma to s sigma / (1 + (s - 1) sigma): more noise for s > 1.
"""

import math
from dataclasses import dataclass
from typing import Protocol

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
    _positive("shift", shift)
    return shift * sigma / (1 + (shift - 1) * sigma)


@dataclass(frozen=True)
class LogitNormal:
    """logit(sigma) is normal with `mean` and `std`; Esser et al. choose (0, 1)."""

    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0

    def __post_init__(self) -> None:
        _positive("std", self.std)
        _positive("shift", self.shift)
        if not math.isfinite(self.mean):
            raise ValueError(f"mean must be finite, got {self.mean}")

    def sample(
        self,
        batch: int,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """See `TimestepDistribution.sample`."""
        normal = torch.randn(batch, generator=generator, device=_device(generator))
        return _shifted(torch.sigmoid(self.mean + self.std * normal), self.shift, device)


@dataclass(frozen=True)
class Uniform:
    """sigma is uniform."""

    shift: float = 1.0

    def __post_init__(self) -> None:
        _positive("shift", self.shift)

    def sample(
        self,
        batch: int,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """See `TimestepDistribution.sample`."""
        return _shifted(_uniform(batch, generator), self.shift, device)


@dataclass(frozen=True)
class Mode:
    """sigma = 1 - u - scale (cos^2(pi u / 2) - 1 + u) of a uniform u; heavier in the middle.

    `scale` lies in [-1, 2 / (pi - 2)], where the map is monotonic; 1.29 is the paper's best.
    """

    scale: float = 1.29
    shift: float = 1.0

    def __post_init__(self) -> None:
        _positive("shift", self.shift)
        if not -1 <= self.scale <= 2 / (math.pi - 2):
            raise ValueError(f"scale must lie in [-1, {2 / (math.pi - 2):.3f}], got {self.scale}")

    def sample(
        self,
        batch: int,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """See `TimestepDistribution.sample`."""
        u = _uniform(batch, generator)
        sigma = 1 - u - self.scale * (torch.cos(math.pi / 2 * u).square() - 1 + u)
        return _shifted(sigma, self.shift, device)


@dataclass(frozen=True)
class Beta:
    """sigma ~ Beta(alpha, beta): (2, 4) is the detail-oriented timestep sampling of UltraHR-100K.

    Zhao et al., arXiv 2510.20661. Beta(2, 4) has its mode at 1/4 and its mean at 1/3: more of the
    low noise levels, at which a model makes the fine detail. Drawn as the quantiles of uniform
    values, so that a seed means the same values on every machine.
    """

    alpha: float = 2.0
    beta: float = 4.0
    shift: float = 1.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "shift"):
            _positive(name, getattr(self, name))

    def sample(
        self,
        batch: int,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """See `TimestepDistribution.sample`."""
        from scipy.special import betaincinv

        u = _uniform(batch, generator)
        sigma = betaincinv(self.alpha, self.beta, u.double().cpu().numpy())
        drawn = torch.from_numpy(sigma).to(u.device, torch.float32)
        return _shifted(drawn, self.shift, device)


def _shifted(sigma: Tensor, shift: float, device: torch.device | str | None) -> Tensor:
    shifted = shift_sigma(sigma.clamp(_EDGE, 1 - _EDGE), shift).clamp(_EDGE, 1 - _EDGE)
    return shifted.to(device)


def _uniform(batch: int, generator: Generator | None) -> Tensor:
    return torch.rand(batch, generator=generator, device=_device(generator))


def _device(generator: Generator | None) -> torch.device:
    return generator.device if generator is not None else torch.device("cpu")


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


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
