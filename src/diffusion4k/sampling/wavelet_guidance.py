r"""Guidance of a stage by the low sub-bands of the stage before.

A stage is to add detail, not to paint a new picture. In each step the clean latents that the
network's prediction implies are drawn towards the enlarged picture, only in the sub-bands that it
has:

    x0' = x0 + w(sigma) P(reference - x0),

where P keeps the lowest sub-band of as many levels as the picture was doubled. The prediction that
implies x0' is passed to the scheduler. This is affine in the prediction, so it may come before or
after classifier-free guidance. Compare DiffuseHigh (Kim et al., arXiv
2406.18459), which replaces sub-bands (w = 1), and HiFlow (Bu et al., arXiv 2504.06232).
"""

import torch
from torch import Tensor
from torch.nn import functional

from diffusion4k.families.spatial import SpatialCall
from diffusion4k.wavelet import dwt2, filter_length, idwt2

__all__ = ["WaveletGuidance", "low_band"]


def low_band(x: Tensor, levels: int, wavelet: str = "haar") -> Tensor:
    """What `x` has in the lowest sub-band of so many levels.

    Args:
        x: `(B, C, H, W)`, of any size.
        levels: from 0, which keeps all of `x`.
        wavelet: name of a discrete PyWavelets filter bank; it sees the edges continued.

    Returns:
        The same shape; applied twice it gives the same again, but at edges that were continued.
    """
    height, width = x.shape[-2:]
    step = 2**levels
    # A filter longer than Haar's looks beyond a block, there and back by its length at each level,
    # and the periodic transform around the edge.
    length = filter_length(wavelet)
    margin = step * (length - 1) if length > 2 else 0
    below, right = (margin + -side % step for side in (height, width))
    low = functional.pad(x, (margin, right, margin, below), mode="replicate")
    for _ in range(levels):
        low = dwt2(low, wavelet).chunk(4, dim=1)[0]
    for _ in range(levels):
        low = idwt2(torch.cat([low, *[torch.zeros_like(low)] * 3], dim=1), wavelet)
    return low[..., margin : margin + height, margin : margin + width]


class WaveletGuidance:
    """Changes predictions so that the low sub-bands of the clean latents stay with a reference.

    Args:
        reference: clean latents `(1, C, h, w)` of the enlarged picture.
        levels: of the wavelet transform; the picture was enlarged by 2**levels.
        weight: of the reference at the first step, from 0 (none) to 1 (replaces the sub-bands).
        falling: the weight falls in proportion to the noise level; else it stays.
    """

    def __init__(
        self, reference: Tensor, levels: int, *, wavelet: str, weight: float, falling: bool
    ) -> None:
        self.reference, self.levels, self.wavelet = reference.float(), levels, wavelet
        self.weight, self.falling = weight, falling
        self._first_sigma: Tensor | None = None

    def __call__(self, call: SpatialCall, predicted: Tensor) -> Tensor:
        """The prediction `(B, C', h, w)`, its first C channels changed."""
        level = call.level
        sigma, of_latents, of_prediction = (
            value.view(-1, 1, 1, 1).to(predicted.device)
            for value in (level.sigma, level.of_latents, level.of_prediction)
        )
        if self._first_sigma is None:
            self._first_sigma = sigma.max()
        weight = self.weight * (sigma / self._first_sigma if self.falling else 1.0)
        # The variance that some networks predict beside it stays as it is.
        changed = predicted.clone()
        # Channel by channel, as the transform takes some ten times the memory of what it is given.
        for channel in range(call.latents.shape[1]):
            part = slice(channel, channel + 1)
            own = predicted[:, part].float()
            clean = of_latents * call.latents[:, part].float() + of_prediction * own
            missing = self.reference[:, part].to(clean.device) - clean
            low = low_band(missing, self.levels, self.wavelet)
            changed[:, part] = own + weight * low / of_prediction
        return changed
