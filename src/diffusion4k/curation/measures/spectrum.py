"""Energy by frequency and direction, of the tiles of a photograph that have most to show.

A photograph with shallow depth of field is sharp in one place alone, so sharpness is looked for
where it can be: the grey picture is cut into tiles of 256x256 pixels, and of these the eighth (at
least four) with the most energy between 1/16 and 1/4 cycles a pixel is taken. Each tile loses its
mean, is weighed by a Hann window and Fourier-transformed; `|F|^2`, scaled so that white noise of
variance s^2 has total energy s^2, is averaged over the tiles and summed into rings of 1/256 cycles
a pixel and 16 directions over 180 degrees. What the noise would give to each is taken off.

All frequencies are in cycles a pixel, 0.5 being the finest, so that a picture is judged at 100%,
whatever its size.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIRECTIONS", "RINGS", "TILE", "Spectrum", "pooled_spectrum"]

TILE = 256
RINGS = TILE // 2
DIRECTIONS = 16
_SHARE = 8  # one tile of so many
_LEAST = 4
_BATCH = 16


@dataclass(frozen=True)
class Spectrum:
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


@lru_cache(maxsize=1)
def _geometry() -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Window, cell of each Fourier coefficient, its weight, and the share of noise in each cell."""
    window = np.outer(np.hanning(TILE), np.hanning(TILE))
    down, across = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
    ring = np.rint(np.hypot(down, across) * TILE).astype(int)
    turn = (np.arctan2(down, across) / np.pi + 0.5) * DIRECTIONS
    cell = np.minimum(ring, RINGS) * DIRECTIONS + np.rint(turn).astype(int) % DIRECTIONS
    # The half-plane that a real transform leaves out is the mirror image of the other.
    mirrored = np.broadcast_to(np.where((across > 0) & (across < 0.5), 2.0, 1.0), cell.shape)
    weight = mirrored / (TILE**2 * (window**2).sum())
    noise = np.bincount(cell.ravel(), mirrored.ravel(), (RINGS + 1) * DIRECTIONS) / TILE**2
    return window.astype(np.float32), cell.ravel(), weight.ravel(), noise


def _power(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    from scipy import fft

    window = _geometry()[0]
    values = tiles.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    transformed = fft.rfft2(values * window)
    return (transformed.real**2 + transformed.imag**2).reshape(len(tiles), -1)


def pooled_spectrum(grey: NDArray[np.uint8], noise: float) -> Spectrum | None:
    """The spectrum of `grey (H, W)`, whose noise has this standard deviation.

    None if the picture is smaller than a tile.
    """
    rows, columns = grey.shape[0] // TILE, grey.shape[1] // TILE
    if not rows * columns:
        return None
    _, cell, weight, noise_share = _geometry()
    tiles = grey[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
    tiles = tiles.transpose(0, 2, 1, 3)
    places = np.array(list(np.ndindex(rows, columns)))
    ring = cell // DIRECTIONS
    middle = np.where((ring >= TILE // 16) & (ring < TILE // 4), weight, 0).astype(np.float32)

    def batches(chosen: NDArray) -> list[NDArray]:
        return [chosen[n : n + _BATCH] for n in range(0, len(chosen), _BATCH)]

    contrast = np.concatenate(
        [_power(tiles[at[:, 0], at[:, 1]]) @ middle for at in batches(places)]
    )
    count = min(len(places), max(_LEAST, len(places) // _SHARE))
    best = places[np.argsort(-contrast, kind="stable")[:count]]
    power = sum(_power(tiles[at[:, 0], at[:, 1]]).sum(axis=0) for at in batches(best)) / count
    energy = np.bincount(cell, power * weight, len(noise_share)) - noise**2 * noise_share
    return Spectrum(np.maximum(energy, 0).reshape(-1, DIRECTIONS)[:RINGS])
