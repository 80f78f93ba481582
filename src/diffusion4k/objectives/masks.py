r"""Which positions of the latents count, at which noise level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from diffusion4k.config.part import Part
from diffusion4k.config.types import Probability

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EnergyMask", "Mask"]


class Mask(Protocol):
    """Factors of the error, position by position."""

    def __call__(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Mask `(B, 1, H, W)`, in sigma's dtype, for `(B, C, H, W)` and sigma `(B,)`."""
        ...


@dataclass(frozen=True)
class EnergyMask(Part, Mask):
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

    name = "energy"
    lower: Probability = 0.3
    of: Literal["latents", "noisy"] = "latents"

    def __call__(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """See `Mask`. Height and width must be even."""
        level = sigma.detach().view(-1, 1, 1, 1)
        shown = latents.detach().to(sigma)
        if self.of == "noisy":
            shown = (1 - level) * shown + level * noise.detach().to(sigma)
        return (energy_map(shown) + self.lower >= level).to(sigma)


def energy_map(latents: Tensor) -> Tensor:
    """A in [0, 1] of latents `(B, C, H, W)`: `(B, 1, H, W)`."""
    from torch.nn.functional import interpolate

    from diffusion4k.wavelet import dwt2

    detail = dwt2(latents)[:, latents.shape[1] :]  # all channels' LH, HL, HH
    energy = 3 * detail.square().mean(dim=1, keepdim=True)
    energy = interpolate(energy, size=latents.shape[-2:], mode="bilinear", align_corners=False)
    least, most = energy.amin(dim=(2, 3), keepdim=True), energy.amax(dim=(2, 3), keepdim=True)
    return (energy - least) / (most - least + 1e-8)
