"""A stage's picture with the low sub-bands of the stage before: it adds detail and nothing else.

    y = s + w P(e - s)

s is the stage's picture, e the enlarged picture of the stage before, P keeps the lowest sub-band of
as many wavelet levels as it was enlarged. What the stage before could show stays as it was, to the
bit but for rounding; all that is finer is the stage's own. In pixels, as there a sub-band is what
it is called: a latent of F=16 holds sixteen pixels a side, fine and coarse ones.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion4k.sampling.wavelet_guidance import low_band
from diffusion4k.wavelet import filter_length

__all__ = ["with_low_bands"]

_ROWS = 256


def with_low_bands(
    strips: Iterable[NDArray[np.uint8]],
    enlarged: NDArray[np.uint8],
    levels: int,
    wavelet: str,
    weight: float = 1.0,
) -> Iterator[NDArray[np.uint8]]:
    """The picture that `strips` make up, its low sub-bands those of `enlarged`; strips again.

    Args:
        strips: of rows from the top, `(rows, W, 3)` each.
        enlarged: `(H, W, 3)`.
        levels: of the wavelet transform, from 1.
        wavelet: name of a discrete PyWavelets filter bank.
        weight: w, from 0 to 1.
    """
    height, step = len(enlarged), 2**levels
    margin = filter_length(wavelet) * step  # what a row of P(x) depends on, and more
    rows = max(_ROWS // step, 1) * step
    kept, top, done = np.empty((0, *enlarged.shape[1:]), np.uint8), 0, 0
    for strip in strips:
        kept = np.concatenate([kept, strip])
        below = top + len(kept)
        while done < height and below >= min(done + rows + margin, height):
            first, last = max(done - margin, 0), min(done + rows + margin, height)
            ready = slice(done - first, min(done + rows, height) - first)
            own, other = kept[first - top : last - top], enlarged[first:last]
            found = np.empty_like(own[ready])
            for colour in range(3):  # one by one: their sub-bands take many times their size
                plane, reference = (_plane(each, colour) for each in (own, other))
                plane += weight * low_band(reference - plane, levels, wavelet)
                pixels = plane[0, 0, ready].clamp_(0, 255).round_()
                found[..., colour] = pixels.to(torch.uint8).numpy()
            yield found
            done = min(done + rows, height)
            keep = max(done - margin, 0)
            kept, top = kept[keep - top :], keep


def _plane(pixels: NDArray[np.uint8], colour: int) -> Tensor:
    """One colour of `(rows, W, 3)` uint8 as `(1, 1, rows, W)` float32."""
    return torch.from_numpy(pixels[..., colour].astype(np.float32))[None, None]
