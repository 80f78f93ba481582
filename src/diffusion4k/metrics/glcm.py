r"""Local detail by grey-level co-occurrence: GLCM Score, textbook entropy, Haralick's properties.

The image is turned grey (OpenCV's weights, rounded to 8 bits), reduced to 64 levels (`grey // 4`)
and cut into non-overlapping 64x64 patches; strips at the right and the bottom that do not fill a
patch are left out. For each patch, `P[i, j, d, a]` is how often level j lies at distance d = 1..4
and angle a = 0, 45, 90, 135 degrees from level i, divided by the number of such pairs: 16 matrices
of 64 x 64, not symmetric, with the offsets rounded as scikit-image rounds them.

- *GLCM Score*: entropy in bits of the **distinct values** of `P`, i.e. -sum_v f_v log2 f_v with f_v
  the share of its 65,536 entries that equal v. This is scikit-image's `shannon_entropy(P)`, which
  the published scores (0.5 to 0.9) were computed with.
- *GLCM entropy*: -sum_ij P log2 P of each matrix, averaged over the 16 matrices: the textbook's.
- *Properties*, each averaged over the 16 matrices, as scikit-image's `graycoprops` has them:

      contrast       sum P (i - j)^2          ASM        sum P^2
      dissimilarity  sum P |i - j|            energy     sqrt(ASM)
      homogeneity    sum P / (1 + (i - j)^2)  mean       m_i = sum P i
      correlation    sum P (i - m_i)(j - m_j) / (s_i s_j), 1 for a flat patch
      variance       s_i^2 = sum P (i - m_i)^2, and the standard deviation s_i

All are averaged over the patches. White noise scores highest in either entropy and lowest in
homogeneity, energy and correlation: read them beside others.

`P` is never built. Counts c of t pairs give equal floats c/t exactly when the fractions are equal
(they differ by 1/t^2 > 2^-24 otherwise), so every (t, c) is given the number of its value once, and
a patch's counts are tallied by these numbers.

Source: Diffusion-4K (arXiv 2503.18352), section 3.2; Haralick et al. 1973.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.images import ImageLike, as_array
from diffusion4k.metrics.measure import Column, Found, Mean, Measure
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.support.cores import cores

__all__ = [
    "DISTANCES",
    "LEVELS",
    "PATCH",
    "PROPERTIES",
    "GlcmMap",
    "GlcmTexture",
    "glcm_entropy",
    "glcm_map",
    "glcm_map_of_grey",
    "glcm_properties",
    "glcm_score",
]

PATCH = 64
LEVELS = 64
DISTANCES = (1, 2, 3, 4)
ANGLES = (0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4)


class GlcmMap(NamedTuple):
    """Values of every 64x64 patch, entropies in bits; arrays `(H // 64, W // 64)` float64."""

    score: NDArray[np.float64]
    entropy: NDArray[np.float64]
    contrast: NDArray[np.float64]
    dissimilarity: NDArray[np.float64]
    homogeneity: NDArray[np.float64]
    energy: NDArray[np.float64]
    correlation: NDArray[np.float64]
    asm: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    std: NDArray[np.float64]


PROPERTIES = GlcmMap._fields[2:]
"""Haralick's, in the order of `GlcmMap`."""


def glcm_score(image: ImageLike) -> float:
    """GLCM Score of an image, in bits: 0 for a flat one, about 0.5 to 0.9 for photographs.

    Raises `Diffusion4kError` if the image cannot be read or is smaller than 64x64.
    """
    return float(glcm_map(image).score.mean())


def glcm_entropy(image: ImageLike) -> float:
    """Textbook GLCM entropy of an image, in bits: 0 for a flat one, below 12. Raises as above."""
    return float(glcm_map(image).entropy.mean())


def glcm_properties(image: ImageLike) -> dict[str, float]:
    """The properties of an image by their names in `GlcmMap`; raises as `glcm_score` does.

    Levels are 0 to 63. The entropy is not among them: see `glcm_entropy`, and times ln 2 it is
    scikit-image's.
    """
    found = glcm_map(image)
    return {name: float(getattr(found, name).mean()) for name in PROPERTIES}


def glcm_map(image: ImageLike, threads: int | None = None) -> GlcmMap:
    """All values patch by patch, from one pass over the image. Raises as `glcm_score` does.

    `threads` share the work, as many as there are cores if None.
    """
    rgb = as_array(image)
    rows, columns = rgb.shape[0] // PATCH, rgb.shape[1] // PATCH
    if not rows or not columns:
        name = "" if isinstance(image, np.ndarray) else f"{getattr(image, 'filename', image)}: "
        raise Diffusion4kError(
            f"{name}image of {rgb.shape[1]}x{rgb.shape[0]} is too small for the GLCM metrics: "
            f"they need at least one patch of {PATCH}x{PATCH}"
        )
    from diffusion4k.metrics.kernels.glcm import grey_levels

    def levels(first: int, last: int) -> NDArray[np.uint8]:
        # A copy, as a view's strides or read-only flag would have the kernel compiled again.
        strip = np.array(rgb[first:last, : columns * PATCH], order="C")
        found = np.empty(strip.shape[:2], np.uint8)
        grey_levels(strip, found)
        return found

    return _by_strips(levels, rows, columns, threads)


def glcm_map_of_grey(grey: NDArray[np.uint8], threads: int | None = None) -> GlcmMap:
    """`glcm_map` of OpenCV's grey values `(H, W)`, of at least one patch."""
    rows, columns = grey.shape[0] // PATCH, grey.shape[1] // PATCH

    def levels(first: int, last: int) -> NDArray[np.uint8]:
        return np.right_shift(grey[first:last, : columns * PATCH], 2, dtype=np.uint8)

    return _by_strips(levels, rows, columns, threads)


class GlcmTexture(Measure):
    """GLCM Score, textbook entropy and Haralick's properties."""

    name = "glcm"
    protocol = "OpenCV grey, 64 levels, 64x64 patches, distances 1 to 4, angles 0 to 135 degrees"
    columns: tuple[Column, ...] = (
        Mean("glcm_score", "GLCM Score", "higher", 3),
        Mean("glcm_entropy", "GLCM entropy", "", 2),
        *(
            Mean(f"glcm_{name}", f"GLCM {'ASM' if name == 'asm' else name}", "", 3)
            for name in PROPERTIES
        ),
    )
    position = 10

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a picture without one whole patch."""
        found = glcm_map(picture.pixels, threads=1)._asdict()
        return Found({f"glcm_{name}": float(values.mean()) for name, values in found.items()})


def _by_strips(
    levels: Callable[[int, int], NDArray[np.uint8]], rows: int, columns: int, threads: int | None
) -> GlcmMap:
    """All metrics of `levels(first, last)`, the grey levels of pixel rows first to last."""
    from diffusion4k.metrics.kernels.glcm import COLUMNS, patch_statistics

    out = np.empty((rows, columns, COLUMNS))
    tables = _tables()

    def measure(first: int, last: int) -> None:
        patch_statistics(levels(first * PATCH, last * PATCH), PATCH, *tables, out[first:last])

    threads = threads or cores()
    if threads == 1:
        measure(0, rows)
        return GlcmMap(*np.moveaxis(out, -1, 0))
    # Four strips per thread, as a busy sky and a flat sea take different times.
    bounds = np.unique(np.linspace(0, rows, 4 * threads + 1).astype(int))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(measure, bounds[:-1], bounds[1:]))
    return GlcmMap(*np.moveaxis(out, -1, 0))


def _offsets() -> dict[tuple[int, int], int]:
    """(row step, column step) of the 16 matrices, each with how many matrices share it."""
    offsets: dict[tuple[int, int], int] = {}
    for distance in DISTANCES:
        for angle in ANGLES:
            # Half away from zero, as scikit-image does; no product lies on a half.
            step = round(math.sin(angle) * distance), round(math.cos(angle) * distance)
            offsets[step] = offsets.get(step, 0) + 1
    return offsets


@lru_cache(maxsize=1)
def _tables() -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]
]:
    """Offsets, first entry per offset, number of each normalised value, and n log2 n."""
    offsets = _offsets()
    pairs = [(PATCH - dy) * (PATCH - abs(dx)) for dy, dx in offsets]
    # Each offset has its run of counts 0..pairs, one behind the other.
    first_value = np.cumsum([0, *(n + 1 for n in pairs[:-1])])
    _, value_of = np.unique(
        np.concatenate([np.arange(n + 1) / n for n in pairs]), return_inverse=True
    )
    n = np.arange(len(DISTANCES) * len(ANGLES) * LEVELS**2 + 1, dtype=np.float64)
    steps = np.array([[dy, dx, share] for (dy, dx), share in offsets.items()])
    return steps, first_value, value_of.astype(np.int32), n * np.log2(np.maximum(n, 1))
