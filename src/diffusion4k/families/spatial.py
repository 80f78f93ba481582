"""One call of a transformer by its stock pipeline, taken apart: what a module around it works with.

How a family's pipeline calls its transformer (packed or not, as a list, with which timesteps)
stands in the family's `spatial_call`; windows and guidance see latents and noise levels only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["NoiseLevel", "SpatialCall", "of_samples"]


@dataclass(frozen=True)
class NoiseLevel:
    """How much noise there is, and what the network's prediction says of the clean latents.

    The estimate is `of_latents * latents + of_prediction * prediction`; all are `(B,)` float32.
    """

    sigma: Tensor
    """Sigma of the flow, in [0, 1]; for other schedules, noise over the sum of noise and signal."""
    of_latents: Tensor
    of_prediction: Tensor

    @classmethod
    def flow(cls, sigma: Tensor, sign: float = 1.0) -> "NoiseLevel":
        """Noise level of a flow whose network predicts `noise - latents` times `sign`."""
        sigma = sigma.float()
        return cls(sigma, torch.ones_like(sigma), -sign * sigma)


@dataclass(frozen=True)
class SpatialCall:
    """What the stock pipeline asks of the transformer in one step, for B samples."""

    latents: Tensor
    """`(B, C, h, w)`, as noisy as the transformer is to see them."""
    level: NoiseLevel
    predict: Callable[[Tensor, Tensor], Tensor]
    """The prediction `(N, C', height, width)` for latents `(N, C, height, width)`, whole or
    cropped, each a picture of its own, and the sample `(N,)` int64 that each belongs to."""
    output: Callable[[Tensor], Any]
    """A prediction `(B, C', h, w)` as the pipeline takes it."""


def of_samples(arguments: dict[str, Any], samples: Tensor) -> dict[str, Any]:
    """The arguments with the rows of these samples of every tensor; others as they are."""
    return {
        name: value.index_select(0, samples.to(value.device)) if torch.is_tensor(value) else value
        for name, value in arguments.items()
    }
