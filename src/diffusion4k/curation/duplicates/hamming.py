"""All pairs of binary hashes within a Hamming distance, exactly, without comparing every pair.

Multi-index hashing. Cut the b bits into m chunks. Let two hashes differ in at most d = m r + a bits
(0 <= a < m). Were their difference above r in each of the first a + 1 chunks and above r - 1 in
each of the others, it would be at least (a + 1)(r + 1) + (m - a - 1) r = d + 1. So they differ in
at most r bits in one of the first a + 1 chunks, or in at most r - 1 bits in one of the others.

Each chunk gives a table: hashes sorted by that chunk, so that those with equal chunks (a bucket)
lie side by side. A hash is compared with its own bucket and with those whose chunk differs in few
enough bits. A pair that several tables hold is reported by the first of them.

The width of the chunks is the one with the fewest comparisons, reckoned from how full the buckets
are: hashes of pictures are not uniform. A chunk of no bits, one bucket with everything in it, is
the pairwise search, taken where nothing else promises less.

Source: Norouzi, Punjani, Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing,
arXiv 1307.2982, section 3.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion4k.support.cores import cores

__all__ = ["Pairs", "near_pairs"]

_WIDEST = 20  # bits of a chunk: a table of 2^20 bucket starts takes 8 MiB
_PROBES = 2000  # buckets looked up per hash and table, at most
_SAMPLE = 8  # buckets by which the cost of looking up all of them is reckoned
_ROWS = 1 << 14  # hashes a thread takes at a time


class Pairs(NamedTuple):
    """Pairs (i, j) and their distance in bits, sorted by i, then j; three arrays of one length."""

    i: NDArray[np.int32]
    j: NDArray[np.int32]
    distance: NDArray[np.int16]


class _Table(NamedTuple):
    """The hashes sorted by one chunk."""

    order: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    keys: NDArray[np.uint32]
    starts: NDArray[np.int64]  # first place of each bucket, and the end


def near_pairs(
    hashes: NDArray[np.uint64], distance: int, others: NDArray[np.uint64] | None = None
) -> Pairs:
    """All pairs of hashes that differ in at most `distance` bits.

    Args:
        hashes: `(n, words)` uint64, each row one hash of `64 * words` bits.
        distance: in bits, 0 or more.
        others: `(m, words)`; with it, the pairs are i in `hashes` with j in `others`. Without it,
            those within `hashes`, i < j.

    Raises:
        ValueError: arrays of another shape, or a negative distance.
    """
    for array in (hashes, others):
        if array is not None and (array.ndim != 2 or array.shape[1] != hashes.shape[1]):
            raise ValueError(f"hashes of shape {array.shape}, allowed is (n, words), equal words")
    if distance < 0:
        raise ValueError(f"distance {distance}, allowed is 0 or more")
    left = np.ascontiguousarray(hashes, dtype=np.uint64)
    right = left if others is None else np.ascontiguousarray(others, dtype=np.uint64)
    if not left.size or not right.size:
        return Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int16))
    chunks, radii = _plan(left, right, distance)
    found: list[NDArray[np.int32]] = []
    with ThreadPoolExecutor(cores()) as pool:
        for number in range(len(chunks)):
            found += _search(pool, left, right, distance, chunks, radii, number, others is None)
    pairs = np.concatenate(found)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    i, j, bits = pairs[order].T
    return Pairs(i.copy(), j.copy(), bits.astype(np.int16))


def _plan(
    left: NDArray[np.uint64], right: NDArray[np.uint64], distance: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First bit and width of each chunk `(m, 2)`, and the radius within which it is searched."""
    bits = 64 * left.shape[1]
    plan = np.array([[0, 0]]), np.array([0])
    least = float(len(left)) * len(right)
    likely = min(int(np.log2(len(right))), _WIDEST)
    for width in range(max(likely - 5, 4), likely + 1):
        count = -(-bits // width)
        edges = np.linspace(0, bits, count + 1).round().astype(np.int64)
        chunks = np.stack([edges[:-1], np.diff(edges)], axis=1)
        radius, rest = divmod(distance, count)
        radii = np.where(np.arange(count) <= rest, radius, radius - 1)
        chunks, radii = chunks[radii >= 0], radii[radii >= 0]
        cost = 0.0
        for (first, size), r in zip(chunks, radii, strict=True):
            if cost < least:
                cost += _comparisons(left, right, int(first), int(size), int(r))
        if cost < least:
            plan, least = (chunks, radii), cost
    return plan


def _comparisons(
    left: NDArray[np.uint64], right: NDArray[np.uint64], first: int, width: int, radius: int
) -> float:
    """About how many pairs of hashes a table would compare, and a share for looking up buckets."""
    if sum(math.comb(width, bits) for bits in range(radius + 1)) > _PROBES:
        return float("inf")
    flips = _flips(width, radius)
    sizes = np.bincount(_keys(left, first, width), minlength=1 << width)
    others = sizes
    if right is not left:
        others = np.bincount(_keys(right, first, width), minlength=1 << width)
    every = np.arange(1 << width, dtype=np.uint32)
    sample = flips[1 :: -(-len(flips) // _SAMPLE)]
    probed = [float(sizes @ others[every ^ flip]) for flip in sample]
    pairs = float(sizes @ others) + (len(flips) - 1) * float(np.mean(probed or 0))
    return pairs + len(left) * len(flips)


def _flips(width: int, radius: int) -> NDArray[np.uint32]:
    """All patterns of at most `radius` of `width` bits."""
    flips = [0]
    for count in range(1, min(radius, width) + 1):
        flips += [sum(1 << bit for bit in bits) for bits in combinations(range(width), count)]
    return np.array(flips, np.uint32)


def _search(
    pool: ThreadPoolExecutor,
    left: NDArray[np.uint64],
    right: NDArray[np.uint64],
    distance: int,
    chunks: NDArray[np.int64],
    radii: NDArray[np.int64],
    number: int,
    within: bool,
) -> Iterator[NDArray[np.int32]]:
    """Pairs `(i, j, distance)` that table `number` is the first to hold."""
    from diffusion4k.curation.duplicates._hamming_kernels import compare_buckets

    first, width = map(int, chunks[number])
    rows = _table(left, first, width)
    buckets = rows if right is left else _table(right, first, width)
    flips = _flips(width, int(radii[number]))

    def search(begin: int) -> NDArray[np.int32]:
        end = min(begin + _ROWS, len(left))
        capacity = 1 << 12
        while True:
            pairs = np.empty((capacity, 3), np.int32)
            count = compare_buckets(
                begin, end, *rows[:3], buckets.order, buckets.hashes, buckets.starts, flips,
                distance, chunks[:number], radii[:number], within, pairs,
            )  # fmt: skip
            if count <= capacity:
                return pairs[:count].copy()
            capacity = count

    return pool.map(search, range(0, len(left), _ROWS))


def _table(hashes: NDArray[np.uint64], first: int, width: int) -> _Table:
    keys = _keys(hashes, first, width)
    order = np.argsort(keys, kind="stable").astype(np.int32)
    starts = np.zeros((1 << width) + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=1 << width), out=starts[1:])
    return _Table(order, hashes[order], keys[order], starts)


def _keys(hashes: NDArray[np.uint64], first: int, width: int) -> NDArray[np.uint32]:
    """Bits `first` to `first + width` of each hash; a chunk may lie across two words."""
    word, shift = divmod(first, 64)
    if not width:
        return np.zeros(len(hashes), np.uint32)
    keys = hashes[:, word] >> np.uint64(shift)
    if shift + width > 64:
        keys = keys | hashes[:, word + 1] << np.uint64(64 - shift)
    return (keys & np.uint64((1 << width) - 1)).astype(np.uint32)
