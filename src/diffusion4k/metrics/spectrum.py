r"""How much there is of each size of detail, beside real photographs: wavelet bands and spectrum.

**Wavelet bands.** The grey picture (OpenCV's, 0 to 255) is taken apart by five levels of the
orthonormal Haar transform; level l holds detail of about 2^l pixels, in the sub-bands LH, HL and
HH. A band's energy is the mean square of its coefficients, in log2 after adding 1/12, the variance
that rounding to whole grey values has in any picture: 1 is twice the energy.

**Spectrum.** The picture is cut into tiles of 128x128, each less its mean and under a Hann window
w. The squared moduli of their Fourier transforms are averaged, divided by sum(w^2) so that white
noise of variance s^2 has the height s^2 at every frequency, and averaged over rings 1/64 cycles
per pixel wide: 32 values up to the Nyquist frequency 1/2, in log2 after adding 1/12 again.

Frequencies are those of pixels, so that pictures of several sizes compare at their own pixels.

The distance of two folders is the root mean square, over bands or rings, of the difference of the
mean log2 values of the pictures: 1 means that energies are off by a factor of 2. It knows nothing
of where the detail lies: noise of the right spectrum is at no distance. See `detail` for that.

Source of the averaged spectrum: Welch 1967.
"""

from collections.abc import Iterable
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import ImageLike, as_array
from diffusion4k.metrics.measure import Column, Distance, Found, Mean, Measure
from diffusion4k.metrics.picture import MeasuredImage

__all__ = [
    "LEVELS",
    "RINGS",
    "TILE",
    "SpectrumMeasure",
    "band_energies",
    "grey_of",
    "log_distance",
    "ring_powers",
]

LEVELS = 5
TILE = 128
RINGS = 32
_ROUNDING = 1 / 12


def grey_of(image: ImageLike, least: int) -> NDArray[np.uint8]:
    """OpenCV's grey values `(H, W)`.

    Raises:
        Diffusion4kError: a broken image, or one with a side below `least`.
    """
    rgb = as_array(image)
    if min(rgb.shape[:2]) < least:
        name = "" if isinstance(image, np.ndarray) else f"{getattr(image, 'filename', image)}: "
        raise Diffusion4kError(
            f"{name}image of {rgb.shape[1]}x{rgb.shape[0]} is too small for its spectrum and its "
            f"detail: they need at least {least}x{least}"
        )
    from diffusion4k.metrics.kernels.haar import grey_values

    grey = np.empty(rgb.shape[:2], np.uint8)
    # A view's strides or read-only flag would have the kernel compiled again.
    grey_values(np.require(rgb, requirements=["C", "W"]), grey)
    return grey


def band_energies(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`(5, 3)`: log2 energy of LH, HL, HH of each level, the finest first.

    Of `grey (H, W)` the rows and columns that fill no square of 32x32 are left out.
    """
    from diffusion4k.metrics.kernels.haar import band_sums

    side = 2**LEVELS
    height, width = grey.shape[0] // side * side, grey.shape[1] // side * side
    sums = np.empty((LEVELS, 3), np.int64)
    band_sums(np.ascontiguousarray(grey[:height, :width]), LEVELS, sums)
    squares = 4.0 ** np.arange(1, LEVELS + 1)  # (2^l)^2, and as many pixels to a coefficient
    energies = sums / squares[:, None] / (height * width / squares[:, None])
    return np.asarray(np.log2(energies + _ROUNDING))


def ring_powers(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`(32,)`: log2 power in rings of frequency, the lowest first, of `grey (H, W)`.

    Rows and columns that fill no tile are left out.
    """
    from scipy.fft import rfft2

    window, ring, pixels = _rings()
    columns = grey.shape[1] // TILE
    power = np.zeros(ring.shape)
    rows = grey.shape[0] // TILE
    for row in range(rows):
        # A row of tiles at a time fits the cache.
        strip = grey[row * TILE : (row + 1) * TILE, : columns * TILE]
        tiles = strip.reshape(TILE, columns, TILE).transpose(1, 0, 2).astype(np.float32)
        tiles -= tiles.mean((1, 2), keepdims=True)
        tiles *= window
        found = rfft2(tiles, overwrite_x=True, workers=1)
        power += (np.square(found.real) + np.square(found.imag)).sum(0)
    power /= np.square(window, dtype=np.float64).sum() * rows * columns
    rings = np.bincount(ring.ravel(), (power * pixels).ravel(), RINGS + 1)
    counts = np.bincount(ring.ravel(), np.broadcast_to(pixels, ring.shape).ravel(), RINGS + 1)
    return np.asarray(np.log2((rings / counts)[:RINGS] + _ROUNDING))


def log_distance(
    ours: Iterable[NDArray[np.float32]],
    theirs: Iterable[NDArray[np.float32]],
    part: slice = slice(None),
) -> float:
    """Root mean square of the difference of the mean values; arrays `(n, D)`, one per picture.

    `part` of the D values, such as those of one level, if not all of them count.

    Raises:
        Diffusion4kError: a side without any picture.
    """
    means = []
    for side, which in ((ours, "first"), (theirs, "second")):
        total, count = np.zeros(1), 0
        for rows in side:
            total = total + rows[:, part].sum(0, dtype=np.float64)
            count += len(rows)
        if not count:
            raise Diffusion4kError(f"the {which} folder holds no pictures to compare")
        means.append(total / count)
    return float(np.sqrt(np.mean(np.square(means[0] - means[1]))))


class SpectrumMeasure(Measure):
    """Wavelet-band energies and the radial spectrum."""

    name = "spectrum"
    protocol = (
        f"OpenCV grey; log2 energies of {LEVELS} Haar levels; log2 power in {RINGS} rings of "
        f"{TILE}x{TILE} Hann-windowed tiles"
    )
    columns: tuple[Column, ...] = (
        *(
            Mean(f"band_{level}", f"energy at {2**level} px (log2)", "", 2)
            for level in range(1, LEVELS + 1)
        ),
        *(
            Distance(
                f"band_{level}_distance",
                f"energy at {2**level} px, distance",
                "lower",
                3,
                "bands",
                partial(log_distance, part=slice(3 * level - 3, 3 * level)),
            )
            for level in range(1, LEVELS + 1)
        ),
        Distance("bands_distance", "wavelet bands, distance", "lower", 3, "bands", log_distance),
        Distance("spectrum_distance", "spectrum, distance", "lower", 3, "spectrum", log_distance),
    )
    position = 30

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture smaller than a tile."""
        grey = grey_of(picture.pixels, TILE)
        bands = band_energies(grey)
        levels = np.log2(np.exp2(bands).mean(axis=1))
        return Found(
            {f"band_{n}": float(energy) for n, energy in enumerate(levels, 1)},
            {
                "bands": bands.reshape(1, -1).astype(np.float32),
                "spectrum": ring_powers(grey)[None].astype(np.float32),
            },
        )


@lru_cache(maxsize=1)
def _rings() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Window, ring of each frequency (the last for all beyond Nyquist), how often it counts."""
    line = np.sin(np.pi * (np.arange(TILE) + 0.5) / TILE) ** 2
    window = np.outer(line, line).astype(np.float32)
    down, along = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
    # Half steps would fall on either side by rounding: squares of whole numbers do not.
    radius = np.sqrt(np.round((down**2 + along**2) * TILE**2))
    ring = np.minimum(radius * 64 / TILE, RINGS).astype(np.int64)
    # Of a real picture's spectrum only one half is computed; the other mirrors it.
    pixels = np.full(TILE // 2 + 1, 2.0)
    pixels[[0, -1]] = 1
    return window, ring, pixels
