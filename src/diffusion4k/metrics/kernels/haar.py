"""Compiled loops over the Haar pyramid of grey values; imported late, as numba takes half a second.

A pyramid of whole numbers: a level's low pass holds sums of 2x2 values of the one below, its three
bands their signed sums. Divided by 2^level they are the orthonormal Haar coefficients, so that all
sums of squares are exact. Every kernel releases the interpreter lock and keeps its scratch memory
to itself.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffusion4k.metrics.kernels.grey import grey_of_pixel

__all__ = [
    "band_sums",
    "edge_profiles",
    "grey_values",
    "grid_steps",
    "quarter_size",
    "tile_sums",
]


@njit(nogil=True, cache=True)
def grey_values(rgb: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
    """Write OpenCV's grey of `rgb (H, W, 3)` to `grey (H, W)`."""
    height, width = grey.shape
    for row in range(height):
        for column in range(width):
            red, green, blue = rgb[row, column, 0], rgb[row, column, 1], rgb[row, column, 2]
            grey[row, column] = grey_of_pixel(red, green, blue)


@njit(nogil=True)
def _analyse(
    source: NDArray[np.int32],
    rows: int,
    columns: int,
    low: NDArray[np.int32],
    bands: NDArray[np.int32],
) -> None:
    """One level of `source[:rows, :columns]`: its sums to `low`, LH, HL and HH to `bands`."""
    for y in range(rows // 2):
        above, below, sums = source[2 * y], source[2 * y + 1], low[y]
        across, upright, diagonal = bands[0, y], bands[1, y], bands[2, y]
        for x in range(columns // 2):
            a, b = np.int32(above[2 * x]), np.int32(above[2 * x + 1])
            c, d = np.int32(below[2 * x]), np.int32(below[2 * x + 1])
            sums[x] = a + b + c + d
            across[x] = a + b - c - d
            upright[x] = a - b + c - d
            diagonal[x] = a - b - c + d


@njit(nogil=True, cache=True)
def band_sums(grey: NDArray[np.uint8], levels: int, out: NDArray[np.int64]) -> None:
    """Sums of squares of the undivided coefficients, `out (levels, 3)`: LH, HL, HH.

    Height and width are multiples of 2^levels. In strips of 2^levels rows.
    """
    strip = 2**levels
    height, width = grey.shape
    source = np.empty((strip, width), np.int32)
    low = np.empty((strip // 2, width // 2), np.int32)
    bands = np.empty((3, strip // 2, width // 2), np.int32)
    out[:] = 0
    for top in range(0, height, strip):
        source[:] = grey[top : top + strip]
        for level in range(levels):
            rows, columns = strip >> level, width >> level
            _analyse(source, rows, columns, low, bands)
            for band in range(3):
                for y in range(rows // 2):
                    line = bands[band, y]
                    total = np.int64(0)
                    for x in range(columns // 2):
                        total += np.int64(line[x]) * line[x]
                    out[level, band] += total
            source[: rows // 2, : columns // 2] = low[: rows // 2, : columns // 2]


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _level_sums(
    bands: NDArray[np.float32], magnitude: NDArray[np.float32], size: int, out: NDArray[np.float64]
) -> None:
    """The sums of `tile_sums` over one level but the last; |LH| + |HL| + |HH| to `magnitude`."""
    for y in range(size):
        h, v, d, m = bands[0, y], bands[1, y], bands[2, y], magnitude[y]
        for x in range(size):
            m[x] = abs(h[x]) + abs(v[x]) + abs(d[x])
        h_sum, v_sum, d_sum, m_sum = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        h_2, v_2, d_2, m_2 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        product = np.float32(0)
        for x in range(size):
            h_sum += abs(h[x])
            v_sum += abs(v[x])
            d_sum += abs(d[x])
            h_2 += h[x] * h[x]
            v_2 += v[x] * v[x]
            d_2 += d[x] * d[x]
            product += abs(h[x]) * abs(v[x])
            m_sum += m[x]
            m_2 += m[x] * m[x]
        along, across = np.float32(0), np.float32(0)
        for x in range(size - 1):
            along += h[x] * h[x + 1]
            across += v[x] * v[x + 1]
        if y + 1 < size:
            h_next, v_next = bands[0, y + 1], bands[1, y + 1]
            for x in range(size):
                along += v[x] * v_next[x]
                across += h[x] * h_next[x]
        out[0] += h_sum
        out[1] += v_sum
        out[2] += d_sum
        out[3] += h_2
        out[4] += v_2
        out[5] += d_2
        out[6] += along
        out[7] += across
        out[8] += product
        out[9] += m_sum
        out[10] += m_2


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _with_parents(children: NDArray[np.float32], parents: NDArray[np.float32], size: int) -> float:
    """Sum of the product of each magnitude with its parent's, `size` parents a side."""
    total = np.float64(0)
    for y in range(size):
        upper, lower, parent = children[2 * y], children[2 * y + 1], parents[y]
        line = np.float32(0)
        for x in range(size):
            line += (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]) * parent[x]
        total += np.float64(line)
    return total


@njit(nogil=True, cache=True)
def tile_sums(grey: NDArray[np.uint8], tile: int, levels: int, out: NDArray[np.float64]) -> None:
    """Sums over the orthonormal Haar coefficients of each tile, `out (rows, columns, levels, 12)`.

    Of the bands LH (h), HL (v), HH (d), and m = |h| + |v| + |d|, per level: |h|, |v|, |d|, h^2,
    v^2, d^2; products of neighbours along the band's lines and across them; |h||v|; m, m^2; and m
    times the m of the level above at the same position (0 for the last level).
    """
    out[:] = 0
    half = tile // 2
    source, low = np.empty((tile, tile), np.int32), np.empty((half, half), np.int32)
    whole = np.empty((3, half, half), np.int32)
    bands = np.empty((3, half, half), np.float32)
    magnitudes = np.empty((2, half, half), np.float32)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            source[:] = grey[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile]
            for level in range(levels):
                size = tile >> (level + 1)
                _analyse(source, 2 * size, 2 * size, low, whole)
                scale = np.float32(0.5 ** (level + 1))
                for band in range(3):
                    for y in range(size):
                        for x in range(size):
                            bands[band, y, x] = whole[band, y, x] * scale
                magnitude = magnitudes[level % 2]
                _level_sums(bands, magnitude, size, out[i, j, level])
                if level:
                    children = magnitudes[(level - 1) % 2]
                    out[i, j, level - 1, 11] = _with_parents(children, magnitude, size)
                source[:size, :size] = low[:size, :size]


@njit(nogil=True, cache=True)
def grid_steps(grey: NDArray[np.uint8], tile: int, out: NDArray[np.int64]) -> None:
    """Sums of |difference| of neighbours in each tile by their position in the 8x8 grid of a JPEG.

    `out (rows, columns, 8)`: at n, between the pixels n and n + 1 of every 8, in both directions.
    """
    out[:] = 0
    sums = np.zeros(tile, np.int64)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            left = j * tile
            sums[:] = 0
            for y in range(i * tile, (i + 1) * tile):
                here = grey[y, left : left + tile]
                for x in range(tile - 1):
                    sums[x] += abs(np.int32(here[x + 1]) - np.int32(here[x]))
                if y + 1 < (i + 1) * tile:
                    below = grey[y + 1, left : left + tile]
                    total = np.int32(0)
                    for x in range(tile):
                        total += abs(np.int32(below[x]) - np.int32(here[x]))
                    out[i, j, y % 8] += total
            for x in range(tile - 1):
                out[i, j, x % 8] += sums[x]


@njit(nogil=True, fastmath={"reassoc", "nsz"}, cache=True)
def edge_profiles(
    grey: NDArray[np.uint8], tile: int, lags: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    """Sums over the steps d of grey values: of d^4, and of d^3 times the d a lag before or behind.

    Steps between neighbours along the rows and along the columns of each tile, each looked at along
    its own direction. `out (rows, columns, 1 + K)`: d^4, then each of the `lags`.
    """
    out[:] = 0
    upright, across = np.empty((tile, tile), np.float32), np.empty((tile, tile), np.float32)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for y in range(tile):
                here = grey[i * tile + y, j * tile : (j + 1) * tile]
                below = grey[i * tile + min(y + 1, tile - 1), j * tile : (j + 1) * tile]
                for x in range(tile):
                    upright[y, x] = np.float32(below[x]) - np.float32(here[x])
                for x in range(tile - 1):
                    across[y, x] = np.float32(here[x + 1]) - np.float32(here[x])
                across[y, tile - 1] = 0
            for y in range(tile):
                fourth = np.float32(0)
                for x in range(tile):
                    fourth += upright[y, x] ** 2 * upright[y, x] ** 2
                    fourth += across[y, x] ** 2 * across[y, x] ** 2
                out[i, j, 0] += fourth
                for k in range(lags.size):
                    lag = lags[k]
                    product = np.float32(0)
                    for x in range(tile - lag):
                        a, b = across[y, x], across[y, x + lag]
                        product += a * b * (a * a + b * b)
                    if y + lag < tile:
                        for x in range(tile):
                            a, b = upright[y, x], upright[y + lag, x]
                            product += a * b * (a * a + b * b)
                    out[i, j, 1 + k] += product / 2


@njit(nogil=True, cache=True)
def quarter_size(grey: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Write the mean of each 4x4 pixels to `out (H // 4, W // 4)`."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            total = np.int32(0)
            for n in range(4):
                for m in range(4):
                    total += grey[4 * y + n, 4 * x + m]
            out[y, x] = np.float32(total) / 16
