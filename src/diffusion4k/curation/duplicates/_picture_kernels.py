"""Compiled loops over pixels; imported late, as numba takes half a second."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["find_blobs", "reduce_to_grey", "sample_windows"]


@njit(nogil=True, cache=True)
def reduce_to_grey(rgb: NDArray[np.uint8], factor: int, grey: NDArray[np.float32]) -> None:
    """Write the mean grey value of each `factor` x `factor` block to `grey`."""
    height, width = grey.shape
    # Sums of a block's rows first: this loop runs along the memory.
    columns = np.empty(width * factor * 3, np.uint32)
    scale = np.float32(1 / (256 * factor * factor))
    for y in range(height):
        columns[:] = 0
        for row in range(y * factor, (y + 1) * factor):
            line = rgb[row].reshape(-1)
            for x in range(len(columns)):
                columns[x] += line[x]
        for x in range(width):
            red, green, blue = np.uint64(0), np.uint64(0), np.uint64(0)
            for place in range(x * factor, (x + 1) * factor):
                red += columns[3 * place]
                green += columns[3 * place + 1]
                blue += columns[3 * place + 2]
            # Rec. 601 weights in 256ths.
            grey[y, x] = np.float32(red * 77 + green * 150 + blue * 29) * scale


@njit(nogil=True, cache=True)
def find_blobs(
    differences: NDArray[np.float32], contrast: float, edge: float, found: NDArray[np.int32]
) -> int:
    """Local extrema `(level, y, x)` of `differences (levels, h, w)`; return how many.

    A position counts if it is beyond `contrast`, beyond its 26 neighbours, and if its principal
    curvatures r and s satisfy (r + s)^2 < `edge` * r * s: along an edge no position is special.
    """
    levels, height, width = differences.shape
    count = 0
    for k in range(1, levels - 1):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                value = differences[k, y, x]
                if abs(value) <= contrast:
                    continue
                sign = 1 if value > 0 else -1
                extreme = True
                for n in range(27):
                    other = differences[k + n // 9 - 1, y + n // 3 % 3 - 1, x + n % 3 - 1]
                    if n != 13 and sign * other >= abs(value):
                        extreme = False
                        break
                if not extreme:
                    continue
                level = differences[k]
                across = level[y, x + 1] + level[y, x - 1] - 2 * value
                along = level[y + 1, x] + level[y - 1, x] - 2 * value
                mixed = level[y + 1, x + 1] + level[y - 1, x - 1]
                mixed = (mixed - level[y - 1, x + 1] - level[y + 1, x - 1]) / 4
                if (across + along) ** 2 < edge * (across * along - mixed**2):
                    if count < len(found):
                        found[count, 0], found[count, 1], found[count, 2] = k, y, x
                    count += 1
    return min(count, len(found))


@njit(nogil=True, cache=True)
def sample_windows(
    levels: NDArray[np.float32],
    level: NDArray[np.int64],
    windows: NDArray[np.float32],
    samples: NDArray[np.float32],
) -> None:
    """Sample each window `(x, y, half width, half height)` of its level on a square grid.

    Bilinear between the centres of pixels, which lie at half integers; outside the picture its
    border continues. `samples` is `(windows, side, side)`.
    """
    _, height, width = levels.shape
    count, side, _ = samples.shape
    for n in range(count):
        picture = levels[level[n]]
        for row in range(side):
            y = windows[n, 1] + windows[n, 3] * ((2 * row + 1) / side - 1) - 0.5
            y = min(max(y, 0.0), height - 1.0)
            top = min(int(y), height - 2)
            down = y - top
            for column in range(side):
                x = windows[n, 0] + windows[n, 2] * ((2 * column + 1) / side - 1) - 0.5
                x = min(max(x, 0.0), width - 1.0)
                left = min(int(x), width - 2)
                right = x - left
                upper = picture[top, left] * (1 - right) + picture[top, left + 1] * right
                lower = picture[top + 1, left] * (1 - right) + picture[top + 1, left + 1] * right
                samples[n, row, column] = upper * (1 - down) + lower * down
