"""Aspect buckets: sizes of about one area, and the order in which batches are taken from them.

A photograph goes to the size whose shape is nearest to its own, is cached just large enough to
cover it, and what stands over is cropped in latents.

Every bucket has its own endless sequence: pass after pass, each a permutation of its photographs.
A global batch takes the next `batch` positions of one bucket's sequence. After e epochs a bucket of
n photographs has given floor(e * n / batch) batches: what does not fill a batch is carried over
and comes first in the next epoch. So in every pass each photograph comes exactly once, none is
dropped, and any step follows from (seed, step) alone: a resumed run needs no state.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, log, sqrt

import numpy as np
from numpy.typing import NDArray

from diffusion4k.data.sequence import Stream, random_at
from diffusion4k.data.sizes import PATCH, check_multiple
from diffusion4k.errors import UsageError
from diffusion4k.support.wording import counted

__all__ = [
    "LONGEST",
    "BucketOrder",
    "bucket_sizes",
    "buckets_of",
    "cover_size",
    "nearest_bucket",
    "sizes_for",
]

LONGEST = 8
"""Greatest aspect of a bucket: pictures that are longer are hardly photographs."""


def bucket_sizes(
    resolution: int, longest: float = 2.4, multiple: int = PATCH
) -> list[tuple[int, int]]:
    """Widths and heights in pixels, multiples of `multiple`, from tallest to widest.

    About `resolution` squared pixels each, with aspects from 1/`longest` to `longest`: the longer
    side grows by a sixteenth of `resolution`. A shape and its transpose are both there.

    Raises:
        UsageError: a resolution that is no multiple of 32, or `longest` out of 1 to `LONGEST`.
    """
    check_multiple("resolution", resolution)
    if not 1 <= longest <= LONGEST:
        raise UsageError(
            f"buckets: found {longest:g} as the longest aspect, allowed 1 to {LONGEST}, for "
            "example 2.4"
        )
    step = max(round(resolution / 16 / multiple), 1) * multiple
    widest = int(resolution * sqrt(longest)) // multiple * multiple
    sizes = set()
    for width in (*range(resolution, widest, step), widest + multiple, widest):
        height = max(round(resolution**2 / width / multiple), 1) * multiple
        if 1 <= width / height <= longest:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes, key=lambda size: (size[0] / size[1], size[0]))


def sizes_for(factor: int, resolution: int, longest: float | None) -> list[tuple[int, int]]:
    """`bucket_sizes` in whole pairs of latents, which wavelets take; none if `longest` is None."""
    if longest is None:
        return []
    return bucket_sizes(resolution, longest, max(PATCH, 2 * factor))


def nearest_bucket(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> int:
    """Index of the size whose logarithm of the aspect is nearest; the first of equals."""
    aspect = log(width / height)
    return min(range(len(sizes)), key=lambda i: abs(log(sizes[i][0] / sizes[i][1]) - aspect))


def cover_size(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """Least width and height in pixels with the photograph's shape that cover `size`.

    Whole multiples of 32, so that the crop can be taken in latents.
    """
    # By whole numbers, as a ratio of floats may come out a hair above a whole multiple.
    if size[0] * height >= size[1] * width:
        return size[0], ceil(-(-size[0] * height // width) / PATCH) * PATCH
    return ceil(-(-size[1] * width // height) / PATCH) * PATCH, size[1]


def buckets_of(stored: NDArray[np.integer], sizes: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """For each picture stored for `cover_size` the index of its size; -1 if it covers none.

    Both in pixels; `stored` is `(N, 2)`. One side of such a picture is that of its size: of all
    sizes that it covers, the one of which least stands over.
    """
    best = np.full(len(stored), -1)
    least = np.full(len(stored), np.inf)
    areas = stored.astype(np.int64).prod(axis=1)
    for index, (width, height) in enumerate(sizes):
        covers = (stored[:, 0] >= width) & (stored[:, 1] >= height)
        over = areas / (width * height)
        better = covers & (over < least)
        best[better], least[better] = index, over[better]
    return best


class BucketOrder:
    """Which photographs make up each global batch, all of one bucket."""

    def __init__(self, bucket_of: Sequence[int], *, batch: int, seed: int) -> None:
        """`bucket_of` is each photograph's bucket; `batch` counts all processes together.

        Raises:
            UsageError: fewer photographs than a batch, or a batch below 1.
        """
        if batch < 1:
            raise UsageError(f"batch: found {batch}, allowed 1 or more")
        if len(bucket_of) < batch:
            raise UsageError(
                f"{counted(len(bucket_of), 'photograph')}: fewer than one batch of {batch}: "
                "lower batch_size "
                "or the number of processes, or add photographs"
            )
        labels = np.asarray(bucket_of)
        self._buckets = [int(label) for label in np.unique(labels)]
        self._members = [np.flatnonzero(labels == label) for label in self._buckets]
        self._counts = np.array([len(members) for members in self._members])
        self._batch, self._seed = batch, seed
        self._permutation = lru_cache(maxsize=2 * len(self._buckets))(self._permutation_of)
        self._order = lru_cache(maxsize=2)(self._order_of)

    def step(self, step: int) -> tuple[int, list[int]]:
        """Bucket of global batch `step` (from 0) and its photographs, `batch` of them.

        A process takes its equal share of them, so that all have the same shapes in a step. A
        bucket smaller than the batch gives a photograph more than once in it, of several passes.
        """
        # The last epoch that begins at or before this step: the counts never fall.
        low, high = 0, (step + len(self._counts) + 1) * self._batch // len(self._members[0]) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if sum(self._given(middle)) <= step else (low, middle)
        given, (order, earlier) = self._given(low), self._order(low)
        within = step - sum(given)
        slot = int(order[within])
        turn = given[slot] + int(earlier[within])
        count = len(self._members[slot])
        places = range(turn * self._batch, (turn + 1) * self._batch)
        photos = [int(self._permutation(slot, p // count)[p % count]) for p in places]
        return self._buckets[slot], photos

    def _given(self, epochs: int) -> list[int]:
        """Batches that each bucket has given after so many epochs."""
        return [epochs * int(count) // self._batch for count in self._counts]

    def _order_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """For each batch of the epoch its bucket, and how many of that bucket come before it."""
        batches = np.subtract(self._given(epoch + 1), self._given(epoch))
        slots = np.repeat(np.arange(len(batches)), batches)
        order = random_at(self._seed, Stream.BUCKET_EPOCH, epoch).permutation(slots)
        earlier = np.empty_like(order)
        for slot, count in enumerate(batches):
            earlier[order == slot] = np.arange(count)
        return order, earlier

    def _permutation_of(self, slot: int, turn: int) -> np.ndarray:
        random = random_at(self._seed, Stream.BUCKET_PASS, self._buckets[slot], turn)
        return random.permutation(self._members[slot])
