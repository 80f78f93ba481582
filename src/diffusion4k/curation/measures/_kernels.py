"""Compiled loops of the measures; imported late, as numba takes half a second.

All release the interpreter lock and keep their scratch memory to themselves, so that one thread per
photograph may run them at once. Sums are of whole numbers wherever the result allows it: they are
exact, and do not depend on the order.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffusion4k.metrics.kernels.grey import grey_of_pixel

__all__ = [
    "block_coefficients",
    "diagonal_medians",
    "gradient_moments",
    "grey_and_histogram",
    "laplacian_variances",
    "sobel_variances",
    "step_profiles",
    "sums_of_four",
]


@njit(nogil=True, cache=True)
def grey_and_histogram(
    rgb: NDArray[np.uint8], grey: NDArray[np.uint8], histogram: NDArray[np.int64], white: int
) -> int:
    """Write the grey values of `rgb (H, W, 3)` to `grey (H, W)` and count them.

    Returns how many pixels have a channel of `white` or more.
    """
    height, width = grey.shape
    blown = 0
    limit = np.uint32(white)
    # Four counters, as one that is raised twice in a row waits for itself.
    a, b, c, d = np.zeros((4, 256), np.int64)
    for y in range(height):
        row, out = rgb[y].reshape(-1), grey[y]
        blown_here = np.int32(0)
        # Unsigned, as every signed index is tested for counting from the end.
        for x in range(np.uint64(width)):
            place = np.uint64(3) * x
            red = np.uint32(row[place])
            green = np.uint32(row[place + np.uint64(1)])
            blue = np.uint32(row[place + np.uint64(2)])
            out[x] = grey_of_pixel(red, green, blue)
            blown_here = np.int32(blown_here + (max(red, green, blue) >= limit))
        blown += int(blown_here)
        whole = width // 4 * 4
        for x in range(np.uint64(0), np.uint64(whole), np.uint64(4)):
            a[out[x]] += 1
            b[out[x + np.uint64(1)]] += 1
            c[out[x + np.uint64(2)]] += 1
            d[out[x + np.uint64(3)]] += 1
        for x in range(whole, width):
            a[out[x]] += 1
    histogram[:] = a + b + c + d
    return blown


@njit(nogil=True, cache=True)
def laplacian_variances(grey: NDArray[np.uint8], tile: int, out: NDArray[np.float64]) -> None:
    """Variance of the 4-neighbour Laplacian inside each tile, without the tile's outermost pixels.

    `out (rows, columns)` receives it for the tiles `[i * tile, (i + 1) * tile)` a side.
    """
    rows, columns = out.shape
    count = (tile - 2) ** 2
    for i in range(rows):
        for j in range(columns):
            window = grey[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile]
            total, squares = np.int64(0), np.int64(0)
            for y in range(1, tile - 1):
                above, here, below = window[y - 1], window[y], window[y + 1]
                row_total, row_squares = np.int32(0), np.int32(0)
                for x in range(1, tile - 1):
                    value = np.int32(above[x]) + below[x] + here[x - 1] + here[x + 1] - 4 * here[x]
                    row_total += value
                    row_squares += value * value
                total += row_total
                squares += row_squares
            mean = total / count
            out[i, j] = squares / count - mean * mean


@njit(nogil=True, cache=True)
def gradient_moments(grey: NDArray[np.uint8], tile: int, out: NDArray[np.float64]) -> None:
    """Mean squares and mean fourth powers of the differences of neighbours inside each tile.

    Horizontal and vertical differences together; `out (rows, columns, 2)`.
    """
    rows, columns, _ = out.shape
    count = 2 * tile * (tile - 1)
    for i in range(rows):
        for j in range(columns):
            window = grey[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile]
            second, fourth = np.int64(0), np.int64(0)
            for y in range(tile):
                here, below = window[y], window[min(y + 1, tile - 1)]
                row_second, row_fourth = np.int32(0), np.int64(0)
                for x in range(tile - 1):
                    square = (np.int32(here[x + 1]) - here[x]) ** 2
                    row_second += square
                    row_fourth += np.int64(square) * square
                for x in range(tile):
                    square = (np.int32(below[x]) - here[x]) ** 2
                    row_second += square
                    row_fourth += np.int64(square) * square
                second += row_second
                fourth += row_fourth
            out[i, j, 0] = second / count
            out[i, j, 1] = fourth / count


@njit(nogil=True, cache=True)
def diagonal_medians(
    grey: NDArray[np.uint8], tile: int, medians: NDArray[np.float64], means: NDArray[np.float64]
) -> None:
    """Median magnitude of the diagonal Haar detail `(a - b - c + d) / 2` of 2x2, and mean, by tile.

    The median is taken inside the bin of whole numbers that holds it, by its share of the bin, as
    eight bits would leave noise below 1 no value between 0 and 1/2.
    """
    rows, columns = medians.shape
    histogram = np.zeros(1021, np.int32)
    half = (tile // 2) ** 2 / 2
    for i in range(rows):
        for j in range(columns):
            histogram[:] = 0
            total = np.int64(0)
            for y in range(i * tile, (i + 1) * tile, 2):
                upper, lower = grey[y], grey[y + 1]
                for x in range(j * tile, (j + 1) * tile, 2):
                    detail = np.int32(upper[x]) - upper[x + 1] - lower[x] + lower[x + 1]
                    histogram[abs(detail)] += 1
                    total += np.int32(upper[x]) + upper[x + 1] + lower[x] + lower[x + 1]
            below, value = 0, 0
            while below + histogram[value] < half:
                below += histogram[value]
                value += 1
            inside = (half - below) / histogram[value]
            # The bin of 0 is [0, 1/2), that of v is [v - 1/2, v + 1/2).
            edge = inside / 2 if value == 0 else value - 0.5 + inside
            medians[i, j] = edge / 2
            means[i, j] = total / tile**2


@njit(nogil=True, cache=True)
def sobel_variances(grey: NDArray[np.uint8], patch: int, out: NDArray[np.float64]) -> None:
    """Variance of the 3x3 Sobel magnitude of each patch; borders are mirrored (OpenCV's 101)."""
    height, width = grey.shape
    rows, columns = out.shape
    size = columns * patch
    total, squares = np.zeros(columns), np.zeros(columns)
    smooth, slope = np.empty(width + 2, np.int32), np.empty(width + 2, np.int32)
    magnitude = np.empty(size, np.float32)
    for i in range(rows):
        total[:] = 0
        squares[:] = 0
        for y in range(i * patch, (i + 1) * patch):
            above = grey[y - 1 if y else 1]
            here = grey[y]
            below = grey[y + 1 if y + 1 < height else height - 2]
            for x in range(width):
                upper, lower = np.int32(above[x]), np.int32(below[x])
                smooth[x + 1] = upper + 2 * np.int32(here[x]) + lower
                slope[x + 1] = lower - upper
            smooth[0], smooth[width + 1] = smooth[2], smooth[width - 1]
            slope[0], slope[width + 1] = slope[2], slope[width - 1]
            for x in range(size):
                across = smooth[x + 2] - smooth[x]
                down = slope[x] + 2 * slope[x + 1] + slope[x + 2]
                magnitude[x] = np.float32(across * across + down * down)
            for j in range(columns):
                row_squares, row_total = np.int64(0), np.float32(0)
                for x in range(j * patch, (j + 1) * patch):
                    row_squares += np.int64(magnitude[x])
                    row_total += np.sqrt(magnitude[x])
                total[j] += row_total
                squares[j] += row_squares
        for j in range(columns):
            mean = total[j] / patch**2
            out[i, j] = squares[j] / patch**2 - mean * mean


@njit(nogil=True, cache=True)
def step_profiles(
    grey: NDArray[np.uint8], cap: int, across: NDArray[np.int64], down: NDArray[np.int64]
) -> None:
    """Sums of `min(|difference|, cap)` between each column and the next, each row and the next.

    `across (W - 1)` and `down (H - 1)`; the cap keeps a few strong edges from counting for all.
    """
    height, width = grey.shape
    across[:] = 0
    sums = np.zeros(width - 1, np.int64)
    for y in range(height):
        here, below = grey[y], grey[min(y + 1, height - 1)]
        total = np.int64(0)
        for x in range(width - 1):
            step = abs(np.int32(here[x + 1]) - np.int32(here[x]))
            sums[x] += step if step < cap else cap
        for x in range(width):
            step = abs(np.int32(below[x]) - np.int32(here[x]))
            total += step if step < cap else cap
        if y + 1 < height:
            down[y] = total
    across[:] = sums


@njit(nogil=True, cache=True)
def block_coefficients(
    grey: NDArray[np.uint8],
    top: int,
    left: int,
    every: int,
    basis: NDArray[np.float32],
    histograms: NDArray[np.int64],
) -> None:
    """Histograms of some DCT coefficients of the 8x8 blocks whose grid begins at (top, left).

    Of the blocks in a row, one in `every` is looked at, shifted from row to row. `basis (K, 8, 8)`
    are the coefficients' orthonormal basis functions; `histograms (K, B)` counts their magnitudes
    in bins of 1/4, those beyond the last bin nowhere.
    """
    count, bins = histograms.shape
    height, width = grey.shape
    block = np.empty((8, 8), np.float32)
    for i in range((height - top) // 8):
        for j in range(i % every, (width - left) // 8, every):
            for y in range(8):
                for x in range(8):
                    block[y, x] = grey[top + 8 * i + y, left + 8 * j + x]
            for k in range(count):
                value = np.float32(0)
                for y in range(8):
                    for x in range(8):
                        value += block[y, x] * basis[k, y, x]
                place = int(4 * abs(value) + np.float32(0.5))
                if place < bins:
                    histograms[k, place] += 1


@njit(nogil=True, cache=True)
def sums_of_four(grey: NDArray[np.uint8], out: NDArray[np.uint16]) -> None:
    """Write the sum of each 2x2 pixels of `grey` to `out (H // 2, W // 2)`."""
    for y in range(out.shape[0]):
        above, below = grey[2 * y], grey[2 * y + 1]
        for x in range(out.shape[1]):
            out[y, x] = np.uint16(above[2 * x]) + above[2 * x + 1] + below[2 * x] + below[2 * x + 1]
