"""Where the loss comes from: by noise level, and by wavelet sub-band of the velocity's error.

The curves are sums over the steps since the last row, over all processes: a loss of one step
mostly shows which noise levels were drawn.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from diffusion4k.wavelet import SUB_BANDS, dwt2

__all__ = ["BANDS", "LossBySigma"]

_LEVELS = 10
BANDS = (
    *(f"sigma_{level / _LEVELS:.1f}" for level in range(_LEVELS)),
    *(f"velocity_{name}" for name in SUB_BANDS),
)
"""Names of the curves: `sigma_0.3` is the objective at sigma in [0.3, 0.4); `velocity_LH` the mean
squared error of the velocity in sub-band LH of its Haar transform."""


class LossBySigma:
    """Sums of what steps tell."""

    def __init__(self) -> None:
        # Sums over all processes; a row divides them by the counts behind them.
        self._sums = [0.0] * 2 * len(BANDS)

    @staticmethod
    @torch.no_grad()
    def measure(
        velocity: Tensor, *, latents: Tensor, noise: Tensor, sigma: Tensor, loss: Tensor
    ) -> Tensor:
        """Sums and counts of a micro-batch, `(2 * len(BANDS),)` float64.

        Velocity, latents and noise `(B, C, h, w)` with even h and w, sigma and loss `(B,)`.
        """
        level = (sigma.double() * _LEVELS).long().clamp(0, _LEVELS - 1)
        sums = torch.zeros(_LEVELS, dtype=torch.float64, device=sigma.device)
        counts = torch.zeros_like(sums)
        sums.index_add_(0, level, loss.detach().double())
        counts.index_add_(0, level, torch.ones_like(sigma, dtype=torch.float64))
        error = dwt2((velocity - (noise - latents)).detach().float())
        squares = error.square().mean((2, 3)).view(len(error), 4, -1).mean(2).double().sum(0)
        pictures = torch.full_like(squares, len(error))
        return torch.cat([sums, squares, counts, pictures])

    def add(self, measured: list[float]) -> None:
        """Take the sums of a step over all processes."""
        self._sums = [a + b for a, b in zip(self._sums, measured, strict=True)]

    def row(self) -> dict[str, float]:
        """Means since the last row, by curve; `nan` where no sample was."""
        half = len(BANDS)
        sums, counts = self._sums[:half], self._sums[half:]
        self._sums = [0.0] * 2 * half
        return {
            name: total / count if count else math.nan
            for name, total, count in zip(BANDS, sums, counts, strict=True)
        }

    def state(self) -> list[float]:
        """The sums, for a checkpoint's `state.json`."""
        return self._sums

    def load(self, state: Iterable[float]) -> None:
        """Continue from saved sums."""
        self._sums = list(state)
