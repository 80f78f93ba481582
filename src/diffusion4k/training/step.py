"""One pass of the network over one batch: noise it, predict the velocity, measure the error.

z = (1 - sigma) * latents + sigma * noise
loss = objective(velocity(z, sigma), latents, noise, sigma)
"""

from collections.abc import Callable
from typing import TypedDict

from torch import Tensor, nn

from diffusion4k.families import Family
from diffusion4k.objectives import Objective

__all__ = ["Question", "denoising_loss"]


class Question(TypedDict):
    """What the network is asked about a batch; shapes as of `denoising_loss`."""

    latents: Tensor
    noise: Tensor
    sigma: Tensor
    conditioning: dict[str, Tensor]


def denoising_loss(
    family: Family,
    transformer: nn.Module,
    objective: Objective,
    *,
    latents: Tensor,
    conditioning: dict[str, Tensor],
    noise: Tensor,
    sigma: Tensor,
    watch: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Loss of each picture, `(B,)` float32; `watch` is shown the velocity and it.

    Latents and noise `(B, C, h, w)`, sigma `(B,)` in (0, 1), conditioning as the family's
    `encode_text` gives it.
    """
    s = sigma.view(-1, 1, 1, 1)
    noisy = (1 - s) * latents + s * noise
    velocity = family.velocity(transformer, noisy, sigma, conditioning)
    loss = objective(velocity, latents=latents, noise=noise, sigma=sigma)
    if watch:
        watch(velocity, loss)
    return loss
