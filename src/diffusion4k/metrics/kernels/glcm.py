"""Compiled loops of the co-occurrence metrics; imported late, as numba takes half a second.

Both kernels release the interpreter lock and keep their scratch memory to themselves, so that any
number of Python threads may run them at once (numba's own parallel loops may not be entered twice).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffusion4k.metrics.kernels.grey import grey_of_pixel

__all__ = ["COLUMNS", "grey_levels", "patch_statistics"]

COLUMNS = 11
"""How many statistics `patch_statistics` finds in a patch."""


@njit(nogil=True, cache=True)
def grey_levels(rgb: NDArray[np.uint8], levels: NDArray[np.uint8]) -> None:
    """Write the 64 grey levels of `rgb (H, W, 3)` to `levels (H, W)`."""
    height, width = levels.shape
    for row in range(height):
        for column in range(width):
            red, green, blue = rgb[row, column, 0], rgb[row, column, 1], rgb[row, column, 2]
            # Dropping two of eight bits leaves 64 levels.
            levels[row, column] = grey_of_pixel(red, green, blue) >> np.uint32(2)


@njit(nogil=True)
def _normalise_range(
    window: NDArray[np.uint8], patch: NDArray[np.uint16], scaled: NDArray[np.uint16]
) -> tuple[int, int]:
    """Write `window - min` to `patch`, times its range to `scaled`; return minimum and range."""
    size = window.shape[0]
    lowest, highest = 64, 0
    for y in range(size):
        for x in range(size):
            lowest = min(lowest, window[y, x])
            highest = max(highest, window[y, x])
    span = highest - lowest + 1
    for y in range(size):
        for x in range(size):
            patch[y * size + x] = window[y, x] - lowest
            scaled[y * size + x] = patch[y * size + x] * span
    return lowest, span


@njit(nogil=True)
def _count_pairs(
    patch: NDArray[np.uint16],
    scaled: NDArray[np.uint16],
    size: int,
    step_y: int,
    step_x: int,
    matrix: NDArray[np.uint16],
) -> int:
    """Count the level pairs of pixels one step apart into `matrix`; return how many they are.

    The counts of a cell are the sum of `matrix[0]` and `matrix[1]`: pairs side by side are often
    alike, and a counter that is raised twice in a row waits for itself.
    """
    width = size - abs(step_x)
    even, odd = matrix[0], matrix[1]
    for y in range(size - step_y):
        # Unsigned, as every signed index is tested for counting from the end.
        first = np.uint64(y * size + max(0, -step_x))
        second = np.uint64((y + step_y) * size + max(0, step_x))
        for x in range(np.uint64(0), np.uint64(width - 1), np.uint64(2)):
            even[scaled[first + x] + patch[second + x]] += 1
            odd[scaled[first + x + np.uint64(1)] + patch[second + x + np.uint64(1)]] += 1
        if width % 2:
            last = np.uint64(width - 1)
            even[scaled[first + last] + patch[second + last]] += 1
    return width * (size - step_y)


@njit(nogil=True)
def _sum_up(
    matrix: NDArray[np.uint16],
    span: int,
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    diagonals: NDArray[np.int32],
) -> np.int32:
    """Sums of the counts by level i, by level j and by i - j (at `span - 1`: of equal levels).

    Returns the sum of their squares, at most that of 4096 pairs: 2^24. Adds `matrix[1]` to
    `matrix[0]` and clears it. The inner loops have no branch and no scatter, for vector units.
    """
    even, odd = matrix[0], matrix[1]
    columns[:span] = 0
    diagonals[: 2 * span - 1] = 0
    squares = np.int32(0)
    for i in range(span):
        here, other = even[i * span : (i + 1) * span], odd[i * span : (i + 1) * span]
        along = diagonals[span - 1 - i : 2 * span - 1 - i]
        total = np.int32(0)
        for j in range(span):
            count = np.int32(here[j]) + np.int32(other[j])
            here[j] = count
            total += count
            squares += count * count
        for j in range(span):
            columns[j] += here[j]
        for j in range(span):
            along[j] += here[j]
        rows[i] = total
    odd[: span * span] = 0
    return squares


@njit(nogil=True)
def _correlation_of_single(level: np.int64, counts: NDArray[np.int32], pairs: int) -> float:
    """Correlation where one side has a single level, which the definition leaves open.

    scikit-image's is 1 if the standard deviation it finds is below 1e-15, and otherwise 0 but for
    rounding. It does not find 0 where shares of the other side's levels do not sum to 1 exactly: so
    its sums are followed here in its order.
    """
    total, mean, variance = 0.0, 0.0, 0.0
    for count in counts:
        total += count / pairs
    for count in counts:
        mean += level * (count / pairs / total)
    for count in counts:
        variance += count / pairs / total * (level - mean) ** 2
    return 1.0 if np.sqrt(variance) < 1e-15 else 0.0


@njit(nogil=True)
def _add_properties(
    sums: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    squares: np.int32,
    span: int,
    lowest: int,
    pairs: int,
    weight: int,
    out: NDArray[np.float64],
) -> None:
    """Add `weight` times the properties of one matrix to `out`, in `GlcmMap`'s order.

    All come of whole numbers; the covariance of i and j by (i - j)^2 = i^2 + j^2 - 2 i j.
    """
    rows, columns, diagonals = sums
    contrast, dissimilarity, homogeneity = np.int64(0), np.int64(0), 0.0
    for k in range(2 * span - 1):
        difference, count = abs(k - span + 1), np.int64(diagonals[k])
        contrast += count * difference * difference
        dissimilarity += count * difference
        homogeneity += count / (1.0 + difference * difference)
    i_sum, i_squares, j_sum, j_squares = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for level in range(span):
        i_sum += level * rows[level]
        i_squares += level * level * rows[level]
        j_sum += level * columns[level]
        j_squares += level * level * columns[level]
    # Each times pairs^2.
    i_variance = pairs * i_squares - i_sum * i_sum
    j_variance = pairs * j_squares - j_sum * j_sum
    covariance = pairs * ((i_squares + j_squares - contrast) // 2) - i_sum * j_sum
    if i_variance == 0:
        correlation = _correlation_of_single(lowest + i_sum // pairs, columns[:span], pairs)
    elif j_variance == 0:
        correlation = _correlation_of_single(lowest + j_sum // pairs, rows[:span], pairs)
    else:
        correlation = covariance / (np.sqrt(np.float64(i_variance)) * np.sqrt(j_variance))
    asm = squares / pairs**2
    variance = i_variance / pairs**2
    out[0] += weight * (contrast / pairs)
    out[1] += weight * (dissimilarity / pairs)
    out[2] += weight * (homogeneity / pairs)
    out[3] += weight * np.sqrt(asm)
    out[4] += weight * correlation
    out[5] += weight * asm
    out[6] += weight * (lowest + i_sum / pairs)
    out[7] += weight * variance
    out[8] += weight * np.sqrt(variance)


@njit(nogil=True)
def _tally_counts(
    matrix: NDArray[np.uint16],
    cells: int,
    tally: NDArray[np.int64],
    counts: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> int:
    """Write the counts above zero to `counts`, and how many cells hold each to `numbers`.

    A count may come more than once. Returns how many were written; clears `matrix[0]`.
    """
    even = matrix[0]
    highest = np.uint16(0)
    for cell in range(cells):
        highest = max(highest, even[cell])
    written = 0
    if highest > cells:
        # A smooth patch: few cells, some with great counts.
        for cell in range(cells):
            if even[cell] > 0:
                counts[written] = even[cell]
                numbers[written] = 1
                written += 1
    else:
        # A busy one: which cells are empty cannot be foreseen, so there is no branch. Four tallies,
        # as most cells in a row hold the same few counts.
        whole = cells // 4 * 4
        for cell in range(0, whole, 4):
            for lane in range(4):
                tally[lane, even[cell + lane]] += 1
        for cell in range(whole, cells):
            tally[0, even[cell]] += 1
        for count in range(1, highest + 1):
            number = tally[0, count] + tally[1, count] + tally[2, count] + tally[3, count]
            if number > 0:
                counts[written] = count
                numbers[written] = number
                written += 1
        tally[:, : highest + 1] = 0
    even[:cells] = 0
    return written


@njit(nogil=True, cache=True)
def patch_statistics(
    levels: NDArray[np.uint8],
    size: int,
    offsets: NDArray[np.int64],
    first_value: NDArray[np.int64],
    value_of: NDArray[np.int32],
    count_log: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Entropies and properties of every patch of `levels (rows * size, columns * size)`.

    `offsets (K, 3)` are row step >= 0, column step, and how many of the matrices share that offset;
    `value_of[first_value[k] + count]` numbers the normalised value that a count stands for;
    `count_log[n]` is n log2 n. `out (rows, columns, COLUMNS)` receives the entropy of distinct
    values and the means over the matrices of the textbook entropy and of the properties.
    """
    rows, columns, _ = out.shape
    matrices = offsets[:, 2].sum()
    entries = matrices * 64 * 64
    patch = np.empty(size * size, np.uint16)
    scaled = np.empty(size * size, np.uint16)
    matrix = np.zeros((2, 64 * 64), np.uint16)
    tally = np.zeros((4, size * size + 1), np.int64)
    counts, numbers = np.empty(64 * 64, np.int64), np.empty(64 * 64, np.int64)
    occurrences = np.zeros(value_of.max() + 1, np.int64)
    seen = np.empty(occurrences.size, np.int64)
    sums = (np.empty(64, np.int32), np.empty(64, np.int32), np.empty(127, np.int32))

    for index in range(rows * columns):
        i, j = index // columns, index % columns
        window = levels[i * size : (i + 1) * size, j * size : (j + 1) * size]
        # Entries outside the patch's own range are zero: only span x span are ever looked at.
        lowest, span = _normalise_range(window, patch, scaled)
        out[i, j] = 0
        distinct, filled, textbook = 0, 0, 0.0
        for k in range(offsets.shape[0]):
            step_y, step_x, weight = offsets[k]
            pairs = _count_pairs(patch, scaled, size, step_y, step_x, matrix)
            squares = _sum_up(matrix, span, *sums)
            _add_properties(sums, squares, span, lowest, pairs, weight, out[i, j, 2:])
            sum_log = 0.0
            for n in range(_tally_counts(matrix, span * span, tally, counts, numbers)):
                count, number = counts[n], numbers[n]
                sum_log += number * count_log[count]
                filled += weight * number
                value = value_of[first_value[k] + count]
                if occurrences[value] == 0:
                    seen[distinct] = value
                    distinct += 1
                occurrences[value] += weight * number
            textbook += weight * (np.log2(pairs) - sum_log / pairs)
        # Zero is a distinct value as well, and by far the most frequent one.
        sum_log = count_log[entries - filled]
        for n in range(distinct):
            sum_log += count_log[occurrences[seen[n]]]
            occurrences[seen[n]] = 0
        out[i, j, 0] = np.log2(entries) - sum_log / entries
        out[i, j, 1] = textbook
        out[i, j, 1:] /= matrices
