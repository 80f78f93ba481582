"""Energy by frequency and direction, of the tiles of a photograph that have most to show.

A photograph with shallow depth of field is sharp in one region alone, so sharpness is looked for
where it can be: the grey picture is cut into tiles of 256x256 pixels, and of these the eighth (at
least four) with the most energy between 1/16 and 1/4 cycles a pixel is taken; that is looked up in
sums of 2x2 pixels, which hold it as well. Each tile taken loses its mean, is weighed by a Hann
window and Fourier-transformed; `|F|^2`, scaled so that white noise of variance s^2 has total energy
s^2, is averaged over the tiles and summed into rings of 1/256 cycles a pixel and 16 directions over
180 degrees. What the noise would give to each is taken off.

All frequencies are in cycles a pixel, 0.5 being the finest, so that a picture is judged at 100%,
whatever its size.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIRECTIONS", "RINGS", "TILE", "NoiseFreeSpectrum", "pooled_spectrum"]

TILE = 256
RINGS = TILE // 2
DIRECTIONS = 16
_SHARE = 8  # one tile of so many
_LEAST = 4
_BATCH = 16
Grey = TypeVar("Grey", np.uint8, np.uint16)


@dataclass(frozen=True)
class NoiseFreeSpectrum:
    """Noise-free energy, variance in squared grey values."""

    energy: NDArray[np.float64]
    """`(128, 16)`: ring k is at k/256 cycles a pixel; direction d is at (d - 8) * 180/16 degrees
    from the horizontal axis, downwards."""

    @property
    def rings(self) -> NDArray[np.float64]:
        """Energy in each ring, over all directions."""
        return self.energy.sum(axis=1)

    def band(self, low: int, high: int) -> float:
        """Energy in the rings from `low` to before `high`, at least 0.001 so that logs exist."""
        return max(float(self.energy[low:high].sum()), 1e-3)


def _plane(
    side: int,
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.float64]]:
    """Frequencies down and across of a real transform, and how often each coefficient counts."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    # The half-plane that a real transform leaves out is the mirror image of the other.
    mirrored = np.where((across > 0) & (across < 0.5), 2.0, 1.0)
    return down, across, np.broadcast_to(mirrored, (side, across.size))


@lru_cache(maxsize=1)
def _geometry() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Cell of each Fourier coefficient, its weight, and the share of noise in each cell."""
    down, across, mirrored = _plane(TILE)
    ring = np.rint(np.hypot(down, across) * TILE).astype(int)
    turn = (np.arctan2(down, across) / np.pi + 0.5) * DIRECTIONS
    cell = np.minimum(ring, RINGS) * DIRECTIONS + np.rint(turn).astype(int) % DIRECTIONS
    weight = mirrored / (TILE**2 * (_window(TILE) ** 2).sum())
    noise = np.bincount(cell.ravel(), mirrored.ravel(), (RINGS + 1) * DIRECTIONS) / TILE**2
    return cell.ravel(), weight.ravel(), noise


@lru_cache(maxsize=1)
def _middle() -> NDArray[np.float32]:
    """Weight of each coefficient of a halved tile in the energy by which tiles are chosen."""
    down, across, mirrored = _plane(TILE // 2)
    ring = np.rint(np.hypot(down, across) * TILE // 2)
    within = (ring >= TILE // 16) & (ring < TILE // 4)
    return np.where(within, mirrored, 0).astype(np.float32).ravel()


@lru_cache(maxsize=2)
def _window(side: int) -> NDArray[np.float64]:
    return np.outer(np.hanning(side), np.hanning(side))


def _power(tiles: NDArray[np.generic]) -> NDArray[np.float32]:
    """`|F|^2` of tiles `(N, side, side)`, `(N, coefficients)`."""
    from scipy import fft

    values = tiles.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values *= _window(tiles.shape[1]).astype(np.float32)
    transformed = fft.rfft2(values)
    return (transformed.real**2 + transformed.imag**2).reshape(len(tiles), -1)


def _tiles(grey: NDArray[Grey], side: int) -> NDArray[Grey]:
    """A view `(rows, columns, side, side)`; what fills no tile is left out."""
    rows, columns = grey.shape[0] // side, grey.shape[1] // side
    whole = grey[: rows * side, : columns * side]
    return whole.reshape(rows, side, columns, side).transpose(0, 2, 1, 3)


def pooled_spectrum(grey: NDArray[np.uint8], noise: float) -> NoiseFreeSpectrum | None:
    """The spectrum of `grey (H, W)`, whose noise has this standard deviation.

    None if the picture is smaller than a tile.
    """
    rows, columns = grey.shape[0] // TILE, grey.shape[1] // TILE
    if not rows * columns:
        return None
    from diffusion4k.curation.measures._kernels import sums_of_four

    cell, weight, noise_share = _geometry()
    places = np.array(list(np.ndindex(rows, columns)))

    def batches(chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [chosen[n : n + _BATCH] for n in range(0, len(chosen), _BATCH)]

    halved = np.empty((grey.shape[0] // 2, grey.shape[1] // 2), np.uint16)
    sums_of_four(grey, halved)
    small, tiles = _tiles(halved, TILE // 2), _tiles(grey, TILE)
    middle = _middle()
    contrast = np.concatenate(
        [_power(small[at[:, 0], at[:, 1]]) @ middle for at in batches(places)]
    )
    count = min(len(places), max(_LEAST, len(places) // _SHARE))
    best = places[np.argsort(-contrast, kind="stable")[:count]]
    power = sum(_power(tiles[at[:, 0], at[:, 1]]).sum(axis=0) for at in batches(best)) / count
    energy = np.bincount(cell, power * weight, len(noise_share)) - noise**2 * noise_share
    return NoiseFreeSpectrum(np.maximum(energy, 0).reshape(-1, DIRECTIONS)[:RINGS])
