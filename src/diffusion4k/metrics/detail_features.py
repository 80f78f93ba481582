r"""Numbers that tell the fine detail of photographs from that of damaged pictures.

The grey picture is cut into tiles of 128x128. Of each tile 31 numbers are taken. Four levels of its
orthonormal Haar transform (bands LH, HL, HH; energies E plus 1/12, the variance of rounding) give,
for the levels l = 1, 2, 3:

    slope     log2 E_l / E_(l+1): how detail falls off towards the pixel
    diagonal  log2 of the energy of HH over that of LH and HL
    shape     log2 (mean |c|)^2 / mean c^2, of LH and HL and of HH: low in photographs, where most
              regions are smooth and few are not; -0.65 for Gaussian noise
    along,    correlation of neighbouring coefficients along the lines of their band, as edges go
    across    on, and across them, where halos turn the sign
    cross     correlation of |LH| and |HL| at the same position
    parent    correlation of the magnitude with that of the next level at the same position

and the steps d between neighbouring pixels:

    grid      log2 of the steps between the 8x8 blocks of a JPEG over those elsewhere
    edge      sum d^3 d' / sum d^4 with d' the step 1, 2, 3, 4, 6, 8 pixels on or back: the profile
              of strong edges, below 0 beside them if they are oversharpened

**Repetition** is a number of the whole picture: the highest autocorrelation beyond 64 pixels, at a
quarter of the size, under a Hann window, and with the spectrum levelled over 9x9 frequencies, so
that neither long edges nor one texture all over count but only what comes again.

Source for the dependencies of coefficients: Simoncelli 1999.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIMENSION", "NAMES", "TILE", "describe_tiles", "repetition"]

TILE = 128
LAGS = (1, 2, 3, 4, 6, 8)
_LEVELS = 4
_KINDS = ("slope", "diagonal", "shape", "shape_HH", "along", "across", "cross", "parent")
NAMES = (
    *(f"{kind}_{level}" for kind in _KINDS for level in (1, 2, 3)),
    "grid",
    *(f"edge_{lag}" for lag in LAGS),
)
"""What each of a tile's numbers is."""
DIMENSION = len(NAMES)

_ROUNDING = 1 / 12
_STRUCTURE = 64.0
_LEAST_WEIGHT = 1e-6
_SHRINK = 4
_NEAR = 64 // _SHRINK
_LEVELLED = 9
_HIGHEST = 0.35  # cycles per pixel of the small picture: beyond, its own pixels show


def describe_tiles(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`(tiles, 1 + DIMENSION)` of `grey (H, W)`, at least one tile: the weight, then `NAMES`.

    A tile weighs e / (e + 64), e its mean square at level 4, which hardly any damage to the detail
    changes: detail is expected where there is structure.
    """
    from diffusion4k.metrics.kernels.haar import edge_profiles, grid_steps, tile_sums

    grid = grey.shape[0] // TILE, grey.shape[1] // TILE
    sums = np.empty((*grid, _LEVELS, 12))
    tile_sums(grey, TILE, _LEVELS, sums)
    steps = np.empty((*grid, 8), np.int64)
    grid_steps(grey, TILE, steps)
    profiles = np.empty((*grid, 1 + len(LAGS)))
    edge_profiles(grey, TILE, np.array(LAGS), profiles)
    weight, *bands = _of_bands(sums.reshape(-1, _LEVELS, 12))
    tiles = len(weight)
    edges = profiles.reshape(tiles, -1)
    found = [weight[:, None], *bands, _of_grid(steps.reshape(tiles, 8))[:, None]]
    # As if there were a step of one grey value at every pixel, lest flat tiles divide by nothing.
    found.append(edges[:, 1:] / (edges[:, :1] + TILE**2))
    return np.concatenate(found, axis=1).astype(np.float32)


def _of_bands(sums: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Weights `(tiles,)`, then each of `_KINDS` `(tiles, 3)`."""
    means = sums / ((TILE / 2 ** np.arange(1, _LEVELS + 1)) ** 2)[:, None]
    h, v, d, hh, vv, dd, along, across, product, m, mm, parent = np.moveaxis(means, -1, 0)
    upright, diagonal = (hh + vv) / 2 + _ROUNDING, dd + _ROUNDING
    energy = np.log2((2 * upright + diagonal) / 3)
    spread = mm - m**2 + _ROUNDING
    structure = (hh + vv + dd)[:, -1] / 3 + _ROUNDING
    kinds = [
        energy[:, :-1] - energy[:, 1:],
        np.log2(diagonal / upright),
        np.log2((((h + v) / 2) ** 2 + _ROUNDING) / upright),
        np.log2((d**2 + _ROUNDING) / diagonal),
        along / (2 * upright),
        across / (2 * upright),
        (product - h * v) / np.sqrt((hh - h**2 + _ROUNDING) * (vv - v**2 + _ROUNDING)),
        (parent[:, :-1] - m[:, :-1] * m[:, 1:]) / np.sqrt(spread[:, :-1] * spread[:, 1:]),
    ]
    weight = structure / (structure + _STRUCTURE) + _LEAST_WEIGHT
    return [weight, *(kind[:, : _LEVELS - 1] for kind in kinds)]


def _of_grid(steps: NDArray[np.int64]) -> NDArray[np.float64]:
    # Between the blocks there is one line less; a Haar level pairs 0-1, 2-3, ...: the odd ones
    # are those between the pairs, as the block's edge is.
    blocks = TILE // 8
    edges = steps[:, 7] * (blocks / (blocks - 1))
    floor = 4 * TILE
    return np.asarray(np.log2((edges + floor) / (steps[:, [1, 3, 5]].mean(1) + floor)))


def repetition(grey: NDArray[np.uint8]) -> float:
    """Highest autocorrelation beyond 64 pixels of `grey (H, W)`, 0 to 1: photographs about 0.02."""
    from scipy.fft import irfft2, rfft2
    from scipy.ndimage import uniform_filter

    from diffusion4k.metrics.kernels.haar import quarter_size

    small = np.empty((grey.shape[0] // _SHRINK, grey.shape[1] // _SHRINK), np.float32)
    quarter_size(grey, small)
    small -= small.mean()
    for axis, size in enumerate(small.shape):
        window = np.hanning(size).astype(np.float32)
        small *= window[:, None] if axis == 0 else window
    spectrum = rfft2(small, workers=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    level = uniform_filter(power, _LEVELLED, mode=("wrap", "nearest"))
    down, along = np.fft.fftfreq(small.shape[0])[:, None], np.fft.rfftfreq(small.shape[1])
    power /= level + 1e-9
    power[down**2 + along**2 > _HIGHEST**2] = 0
    power[0, 0] = 0
    correlation = irfft2(power, small.shape, workers=1)
    whole = float(correlation[0, 0])
    for rows in (slice(None, _NEAR), slice(1 - _NEAR, None)):
        for columns in (slice(None, _NEAR), slice(1 - _NEAR, None)):
            correlation[rows, columns] = 0
    return float(correlation.max()) / whole if whole > 0 else 0.0
