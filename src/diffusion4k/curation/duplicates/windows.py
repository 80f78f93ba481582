r"""Perceptual hashes of a picture and of windows in it, which a crop of the picture shares.

A hash of the whole picture does not survive a crop. So windows are hashed whose positions and sizes
follow from what is seen in the picture, not from its borders; those that a crop keeps whole are
found in it again, at their own position and scale.

1. *Windows.* Blobs, bright or dark, are extrema of the thumbnail's differences of Gaussians,
   G(1.26 sigma) - G(sigma), in place and in sigma (Lowe 2004, section 3; the octaves are not
   halved, as a thumbnail is small). Each gives a square window around it, 7.6 sigma a side. The 64
   strongest are kept, and the whole picture is window 0.
2. *Hash.* A window is sampled on 32 x 32 points; of its cosine transform (DCT-II) the 128 lowest
   frequencies but the constant, in the order of u + v, give one bit each: is it above zero? This is
   the DCT hash (Zauner 2010, section 3.2.1) with the sign in place of the median. Signs do not
   change with brightness and contrast.
3. *Mirror image.* Mirroring a window negates the coefficients of odd horizontal frequency u and no
   other. So the hash of the mirror image is the hash with these bits flipped, and need not be kept.

What has no detail has no hash: the standard deviation of a window is at least half a grey level.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

__all__ = ["BITS", "MIRROR", "HashedWindows", "blurred", "sample", "windows_of"]

BITS = 128
"""Bits of a hash."""

_WINDOWS = 64
_SIGMA, _PER_OCTAVE, _LEVELS = 1.6, 3, 12  # Gaussians of 1.6 to 20 pixels of the thumbnail
_HALF = 3.8  # half the side of a window, in sigmas of its blob
_CONTRAST, _EDGE = 0.15, 40.0  # of a blob, see `find_blobs`
_POINTS, _FREQUENCIES = 32, 16
_FLAT = 0.5  # least standard deviation of a window in grey levels

_ALL_SIGMAS = _SIGMA * 2 ** (np.arange(_LEVELS) / _PER_OCTAVE)
_V, _U = np.divmod(np.arange(_FREQUENCIES**2), _FREQUENCIES)
_ORDER = np.lexsort((_U, _U + _V))[1 : BITS + 1]
_COSINES = np.sqrt(2 / _POINTS) * np.cos(
    np.pi / _POINTS * np.outer(np.arange(_FREQUENCIES), np.arange(_POINTS) + 0.5)
).astype(np.float32)


def _pack(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """`(n, 128)` to `(n, 2)`: bit k of a hash is bit k % 64 of its word k // 64."""
    packed = np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little"))
    return packed.view("<u8").astype(np.uint64)


MIRROR = _pack(_U[_ORDER][None] % 2 == 1)[0]
"""`(2,)` uint64; `hashes ^ MIRROR` are the hashes of the mirrored windows."""


class HashedWindows(NamedTuple):
    """Hashes `(n, 2)` uint64, and positions `(n, 4)` float32 in pixels of the thumbnail.

    A position is the centre's x and y, half the width and half the height. Window 0 is the whole.
    """

    hashes: NDArray[np.uint64]
    places: NDArray[np.float32]


def windows_of(thumbnail: NDArray[np.uint8]) -> HashedWindows:
    """Windows of a grey thumbnail `(h, w)`, the whole and up to 64 more; of a flat one, none."""
    height, width = thumbnail.shape
    levels = blurred(thumbnail.astype(np.float32))
    whole = np.array([[width, height, width, height]], np.float32) / 2
    places = np.concatenate([whole, _blobs(levels)])
    samples = sample(levels, places, _POINTS)
    coefficients = (_COSINES @ samples @ _COSINES.T).reshape(len(places), -1)
    kept = samples.std(axis=(1, 2)) >= _FLAT
    kept &= kept[0]
    return HashedWindows(_pack(coefficients[kept][:, _ORDER] > 0), places[kept])


def sample(
    levels: NDArray[np.float32], places: NDArray[np.float32], points: int
) -> NDArray[np.float32]:
    """Windows of a picture's `blurred` levels: `(n, 4)` positions to `(n, points, points)`."""
    from diffusion4k.curation.duplicates._picture_kernels import sample_windows

    # Blurred as far as points lie apart: finer detail would fall between them.
    step = 2 * np.sqrt(places[:, 2] * places[:, 3]) / points
    level = np.searchsorted(_ALL_SIGMAS, step, side="right")
    samples = np.empty((len(places), points, points), np.float32)
    sample_windows(levels, level, places, samples)
    return samples


def blurred(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(1 + levels, h, w)`: the thumbnail, and its Gaussians with mirrored borders.

    In the cosine transform a Gaussian is a factor of each frequency.
    """
    height, width = thumbnail.shape
    frequencies = np.add.outer(
        (np.pi * np.arange(height) / height) ** 2, (np.pi * np.arange(width) / width) ** 2
    )
    factors = np.exp(-0.5 * np.multiply.outer(_ALL_SIGMAS**2, frequencies)).astype(np.float32)
    levels = idctn(dctn(thumbnail) * factors, axes=(1, 2), overwrite_x=True)
    return np.concatenate([thumbnail[None], levels])


def _blobs(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows around the strongest blobs that lie wholly in the picture."""
    from diffusion4k.curation.duplicates._picture_kernels import find_blobs

    differences = np.diff(levels[1:], axis=0)
    found = np.empty((1 << 14, 3), np.int32)
    k, y, x = found[: find_blobs(differences, _CONTRAST, _EDGE, found)].T
    # The top of a parabola through the neighbours: finer than pixels and levels.
    here = differences[k, y, x]
    peaks = [
        _peak(differences[k - dk, y - dy, x - dx], here, differences[k + dk, y + dy, x + dx])
        for dk, dy, dx in np.eye(3, dtype=int)
    ]
    sigma = _SIGMA * 2 ** ((k + peaks[0]) / _PER_OCTAVE)
    places = np.stack([x + peaks[2] + 0.5, y + peaks[1] + 0.5, _HALF * sigma, _HALF * sigma], 1)
    height, width = levels.shape[1:]
    low, high = places[:, :2] - places[:, 2:], places[:, :2] + places[:, 2:]
    inside = np.all((low >= 0) & (high <= (width, height)), axis=1)
    # Large blobs are fewer and outlive re-encoding better: they come a little before small ones.
    strength = np.where(inside, np.abs(here) * np.sqrt(sigma), 0)
    order = np.argsort(-strength, kind="stable")[:_WINDOWS]
    return places[order[strength[order] > 0]].astype(np.float32)


def _peak(
    before: NDArray[np.float32], here: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Where the parabola through three equidistant values turns, at most half a step off."""
    curvature = before + after - 2 * here
    return np.clip((before - after) / (2 * np.where(curvature == 0, 1, curvature)), -0.5, 0.5)
