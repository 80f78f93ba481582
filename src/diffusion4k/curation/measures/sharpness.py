"""Sharpness: defocus and motion blur.

- *Laplacian variance*: of the 4-neighbour Laplacian on tiles of 256x256 pixels; the value that a
  tenth of the tiles exceed. The classic; it grows with contrast and noise as well.
- *Gradient kurtosis*: fourth moment over squared second moment of the differences of neighbours,
  3 for a Gaussian. Sharp edges are few and strong; defocus evens them out.
- *Spectral slope*: exponent of the power density over frequency, fitted in logarithms between 1/32
  and 1/4 cycles a pixel. About -2 to -4 for sharp photographs, -5 and below for blurred ones.
- *Detail fall*: from one octave of frequencies to the next, by which power of ten the energy falls,
  where it falls most. Sharp photographs hold about as much in each octave (0), soft lenses lose up
  to -1; a Gaussian blur or an enlargement has an octave in which nearly all is lost. It does not
  depend on contrast.
- *Edge anisotropy*: energy above 1/8 over that around 1/20 cycles a pixel is compared between 16
  directions; the value is the power of ten between the best and the worst one.
- *Motion blur*: edge anisotropy times the detail fall (up to a factor of 1). Camera shake takes the
  detail along one direction in the whole picture; reeds and cables, which are fine in one direction
  as well, lose nothing from octave to octave.

The last four are of the most detailed tiles (`spectrum.py`), so that a blurred background is no
fault. Sources: Pech-Pacheco et al., ICPR 2000 (Laplacian); Liu et al., Image partial blur
detection, CVPR 2008 (kurtosis, slope, directions).
"""

import numpy as np

from diffusion4k.curation.measures.picture import Photograph
from diffusion4k.curation.measures.spectrum import TILE, NoiseFreeSpectrum

__all__ = ["MEASURES", "measure"]

MEASURES = {
    "laplacian_variance": "variance of the Laplacian of the sharpest tenth of the tiles, squared "
    "grey values (0 and up; more is better)",
    "gradient_kurtosis": "kurtosis of the differences of neighbours (1 and up; 3 is Gaussian)",
    "spectral_slope": "exponent of power over frequency (about -8 to 0; more is better)",
    "detail_fall": "largest fall of energy from octave to octave, power of ten (about -4 to 0; "
    "more is better)",
    "edge_anisotropy": "power of ten between the directions with most and least detail (0 to "
    "about 4)",
    "motion_blur": "edge anisotropy times how far the detail falls (0 to about 4; less is better)",
}
SHARPEST = 90  # percent of the tiles are below
OCTAVES = (8, 11, 16, 23, 32)  # rings where pairs of octaves begin


def measure(picture: Photograph) -> dict[str, float]:
    """The six values; NaN for a picture smaller than a tile."""
    spectrum = picture.spectrum
    if spectrum is None:
        return dict.fromkeys(MEASURES, float("nan"))
    fall, anisotropy = _fall(spectrum), _anisotropy(spectrum)
    return _on_tiles(picture) | {
        "spectral_slope": _slope(spectrum),
        "detail_fall": fall,
        "edge_anisotropy": anisotropy,
        "motion_blur": anisotropy * min(1.0, max(0.0, -fall)),
    }


def _on_tiles(picture: Photograph) -> dict[str, float]:
    from diffusion4k.curation.measures._kernels import gradient_moments, laplacian_variances

    shape = picture.grey.shape[0] // TILE, picture.grey.shape[1] // TILE
    variances, moments = np.empty(shape), np.empty((*shape, 2))
    laplacian_variances(picture.grey, TILE, variances)
    gradient_moments(picture.grey, TILE, moments)
    second, fourth = moments.mean(axis=(0, 1))
    return {
        "laplacian_variance": float(np.percentile(variances, SHARPEST)),
        # A picture of one colour has no differences to speak of.
        "gradient_kurtosis": float(fourth / second**2) if second else float("nan"),
    }


def _slope(spectrum: NoiseFreeSpectrum) -> float:
    rings = np.arange(TILE // 32, TILE // 4)
    density = spectrum.rings[rings] / rings
    return float(np.polyfit(np.log(rings), np.log(density + 1e-9), 1)[0])


def _fall(spectrum: NoiseFreeSpectrum) -> float:
    falls = [spectrum.band(2 * k, 4 * k) / spectrum.band(k, 2 * k) for k in OCTAVES]
    return float(np.log10(min(falls)))


def _anisotropy(spectrum: NoiseFreeSpectrum) -> float:
    fine = _smoothed(spectrum.energy[TILE // 8 :].sum(axis=0))
    coarse = _smoothed(spectrum.energy[6:20].sum(axis=0))
    ratios = np.log10(np.maximum(fine, 1e-3) / np.maximum(coarse, 1e-3))
    return float(ratios.max() - ratios.min())


def _smoothed(directions: np.ndarray) -> np.ndarray:
    """Each direction with its two neighbours."""
    return (np.roll(directions, 1) + directions + np.roll(directions, -1)) / 3
