"""Resolution: whether a photograph holds the detail that its number of pixels promises.

- *Spectral cut-off*: the frequency below which 95% of the energy of the gradient lies (power times
  squared frequency, noise taken off, most detailed tiles: `spectrum.py`). A photograph that was
  enlarged k times by any smooth kernel has nothing above 0.5/k cycles a pixel; the rounding errors
  of a JPEG above it weigh little, as the value is a share of energy and not a level.
- *Pixel repetition*: of the columns, and of the rows, whether every second, third or fourth step is
  larger than the others: 0 if all are alike, 1 if the others are nil. Nearest-neighbour enlargement
  keeps steps only between its blocks. Steps on the grid of a JPEG are left out.
"""

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.measures.grid import grid_phase, without_trend
from diffusion4k.curation.measures.picture import Photograph
from diffusion4k.curation.measures.spectrum import RINGS, TILE, NoiseFreeSpectrum

__all__ = ["MEASURES", "measure"]

MEASURES = {
    "spectral_cutoff": "frequency below which 95% of the gradient's energy lies, cycles a pixel "
    "(0 to 0.5; more is better)",
    "pixel_repetition": "how much larger every 2nd, 3rd or 4th step between pixels is (0 to 1; "
    "less is better)",
}
SHARE = 0.95
FACTORS = (2, 3, 4)


def measure(picture: Photograph) -> dict[str, float]:
    """Both values; the first is NaN for a picture smaller than a tile."""
    spectrum = picture.spectrum
    return {
        "spectral_cutoff": float("nan") if spectrum is None else _cutoff(spectrum),
        "pixel_repetition": min(_repetition(profile) for profile in picture.steps),
    }


def _cutoff(spectrum: NoiseFreeSpectrum) -> float:
    frequencies = np.arange(RINGS) / TILE
    summed = np.cumsum(spectrum.rings * frequencies**2)
    if not summed[-1]:
        return 0.0
    return float(frequencies[np.searchsorted(summed, SHARE * summed[-1])])


def _repetition(profile: NDArray[np.float64]) -> float:
    """1 minus the second largest mean step over the largest, by position, at the best period."""
    position = np.arange(len(profile))
    off_grid = position % 8 != grid_phase(profile)
    relative = without_trend(profile)
    highest = 0.0
    for factor in FACTORS:
        classes = [relative[off_grid & (position % factor == k)] for k in range(factor)]
        if all(len(members) for members in classes):
            *_, second, largest = sorted(float(np.median(members)) for members in classes)
            highest = max(highest, 1 - second / largest)
    return highest
