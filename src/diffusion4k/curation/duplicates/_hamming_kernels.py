"""Compiled loops of the search among hashes; imported late, as numba takes half a second."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["compare_buckets"]


@njit(nogil=True, inline="always")
def _ones(word: np.uint64) -> np.int64:
    """Bits that are set; compilers know this idiom and make one instruction of it."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(nogil=True)
def _chunk_distance(a: NDArray[np.uint64], b: NDArray[np.uint64], first: int, width: int) -> int:
    """Number of the bits `first` to `first + width` in which two hashes differ."""
    count = 0
    for bit in range(first, first + width):
        word, shift = bit >> 6, np.uint64(bit & 63)
        count += int(((a[word] ^ b[word]) >> shift) & np.uint64(1))
    return count


@njit(nogil=True)
def _found_before(
    a: NDArray[np.uint64],
    b: NDArray[np.uint64],
    chunks: NDArray[np.int64],
    radii: NDArray[np.int64],
) -> bool:
    for number in range(len(chunks)):
        if _chunk_distance(a, b, chunks[number, 0], chunks[number, 1]) <= radii[number]:
            return True
    return False


@njit(nogil=True, cache=True)
def compare_buckets(
    begin: int,
    end: int,
    order: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    keys: NDArray[np.uint32],
    other_order: NDArray[np.int32],
    others: NDArray[np.uint64],
    starts: NDArray[np.int64],
    flips: NDArray[np.uint32],
    distance: int,
    earlier_chunks: NDArray[np.int64],
    earlier_radii: NDArray[np.int64],
    within: bool,
    pairs: NDArray[np.int32],
) -> int:
    """Compare the sorted hashes `begin` to `end` with the buckets whose keys differ by `flips`.

    Write `(i, j, distance)` of what is near and was found by no earlier table to `pairs`, as far as
    there is room; return how many there are. `within`: both sides are the same hashes, and a pair
    is met once, with i < j.
    """
    words = hashes.shape[1]
    count = 0
    for flip in flips:
        for row in range(begin, end):
            bucket = keys[row] ^ flip
            first, last = starts[bucket], starts[bucket + 1]
            if within:
                if bucket < keys[row]:
                    continue
                if flip == 0:
                    first = row + 1
            for other in range(first, last):
                bits = _ones(hashes[row, 0] ^ others[other, 0])
                for word in range(1, words):
                    bits += _ones(hashes[row, word] ^ others[other, word])
                if bits > distance:
                    continue
                if _found_before(hashes[row], others[other], earlier_chunks, earlier_radii):
                    continue
                if count < len(pairs):
                    i, j = order[row], other_order[other]
                    pairs[count, 0] = min(i, j) if within else i
                    pairs[count, 1] = max(i, j) if within else j
                    pairs[count, 2] = bits
                count += 1
    return count
