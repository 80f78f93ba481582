r"""Which positions of the latents count, at which noise level."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusion4k.wavelet import dwt2

__all__ = ["EnergyMask", "Mask"]


class Mask(Protocol):
    """Factors of the error, position by position."""

    def __call__(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Mask `(B, 1, H, W)`, in sigma's dtype, for `(B, C, H, W)` and sigma `(B,)`."""
        ...


@dataclass(frozen=True)
class EnergyMask:
    """1 where A + lower >= sigma, else 0: latent wavelet diffusion (LWD), arXiv 2506.00433, eq. 6.

    A is where the detail is: LH^2 + HL^2 + HH^2 of a one-level Haar transform, mean over channels,
    enlarged to the latents' size (bilinear), and scaled to [0, 1] picture by picture. All positions
    learn at noise levels up to `lower`; only those rich in detail learn beyond. Latents without any
    detail have A = 0.

    Args:
        lower: in [0, 1]; the paper's best is 0.3.
        of: `latents`, A of the clean latents, as the paper writes it; `noisy`, A of z, as the
            authors' code computes it.

    Raises:
        ValueError: an argument out of its range.
    """

    lower: float = 0.3
    of: Literal["latents", "noisy"] = "latents"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and 0 <= self.lower <= 1):
            raise ValueError(f"lower must lie in [0, 1], got {self.lower}")
        if self.of not in ("latents", "noisy"):
            raise ValueError(f"of must be latents or noisy, got {self.of!r}")

    @torch.no_grad()
    def __call__(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """See `Mask`. Height and width must be even."""
        level = sigma.view(-1, 1, 1, 1)
        shown = latents.to(sigma)
        if self.of == "noisy":
            shown = (1 - level) * shown + level * noise.to(sigma)
        return (energy_map(shown) + self.lower >= level).to(sigma)


def energy_map(latents: Tensor) -> Tensor:
    """A in [0, 1] of latents `(B, C, H, W)`: `(B, 1, H, W)`."""
    detail = dwt2(latents)[:, latents.shape[1] :]  # all channels' LH, HL, HH
    energy = 3 * detail.square().mean(dim=1, keepdim=True)
    energy = F.interpolate(energy, size=latents.shape[-2:], mode="bilinear", align_corners=False)
    least, most = energy.amin(dim=(2, 3), keepdim=True), energy.amax(dim=(2, 3), keepdim=True)
    return (energy - least) / (most - least + 1e-8)
