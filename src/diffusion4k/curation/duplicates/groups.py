"""Groups of duplicates: pictures that are the same, up to coding, size, colour, mirror and crop.

1. Equal pixels: equal hashes of pixels.
2. Near-copies: pictures whose whole hashes, or one's and the other's mirror image's, are near.
3. Crops: of each group so far one picture, and any of its windows near any of another's.

What hashes suggest in 2 and 3 is believed only if the thumbnails, laid over each other, correlate
(`registration`). A group is a connected component of the believed pairs: a picture and two crops
of it are one group, though the crops may share little.

A hash that very many windows share exactly suggests one chain of pairs through all of them, and
near hashes pairs of their first windows: what is lost in one window is found in another, and many
equal windows (a logo, a frame) do not make every pair a candidate.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion4k.curation.duplicates.fingerprint import Fingerprint
from diffusion4k.curation.duplicates.hamming import near_pairs
from diffusion4k.curation.duplicates.registration import Registered, correlation
from diffusion4k.curation.duplicates.thumbnail import from_jpeg
from diffusion4k.curation.duplicates.windows import MIRROR
from diffusion4k.support.progress import track

__all__ = ["CORRELATION", "DISTANCE", "Groups", "Link", "Union", "find_duplicates", "kept"]

DISTANCE = 15
"""Bits of 128 in which the hashes of one window differ at most, by default."""
CORRELATION = 0.9
"""Default least correlation of detail in the common part of two thumbnails."""

_FEW = 32  # windows with one hash, of which each may be a copy of each other one
_CROSSED = 4  # windows with a hash that are tried with as many of a near one
_HYPOTHESES = 4  # matches of windows tried for a pair of pictures
_THUMBNAILS = 64  # kept blurred, 1.3 MiB each: pairs come sorted by their first picture


class Link(NamedTuple):
    """Why two pictures are in one group."""

    i: int
    j: int
    correlation: float
    """1 for equal pixels."""
    mirrored: bool


class Groups(NamedTuple):
    """Which pictures are duplicates of which, and what it took to tell."""

    labels: NDArray[np.int64]
    """`(n,)`: for each picture the number of the first picture of its group."""
    links: list[Link]
    """Pairs that hold the groups together: one less than pictures in each."""
    compared: int
    """Pairs that hashes suggested and thumbnails were laid over each other for."""

    def members(self) -> list[list[int]]:
        """The groups of two and more, each in order."""
        groups = defaultdict(list)
        for picture, label in enumerate(self.labels.tolist()):
            groups[label].append(picture)
        return [group for group in groups.values() if len(group) > 1]


class Union:
    """Connected components of numbers below `count`, pair by pair; the least is the root."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, number: int) -> int:
        """The least number of the component."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, i: int, j: int) -> None:
        """Make one component of two."""
        first, second = sorted((self.root(i), self.root(j)))
        self._parent[second] = first

    def labels(self) -> NDArray[np.int64]:
        """The root of each number, `(count,)`."""
        return np.array([self.root(number) for number in range(len(self._parent))], np.int64)


def find_duplicates(
    fingerprints: Sequence[Fingerprint],
    *,
    distance: int = DISTANCE,
    least_correlation: float = CORRELATION,
    progress: bool = False,
) -> Groups:
    """Group the pictures. `distance` 0 and more, `least_correlation` above 0, up to 1.

    `progress` shows how many of the suggested matches have been checked.
    """
    union, links = Union(len(fingerprints)), []
    first: dict[str, int] = {}
    for number, each in enumerate(fingerprints):
        same = first.setdefault(each.pixel_hash, number)
        if same != number:
            union.join(same, number)
            links.append(Link(same, number, 1.0, False))

    @lru_cache(_THUMBNAILS)
    def registered(picture: int, mirrored: bool) -> Registered:
        if mirrored:
            return registered(picture, False).mirrored()
        return Registered(from_jpeg(fingerprints[picture].thumbnail))

    compared = set()
    for windows in (1, None):
        pictures = np.unique(union.labels())
        matches = _matches([fingerprints[k] for k in pictures], windows, distance)
        for match in track(matches, len(matches), "comparing near-duplicates", shown=progress):
            i, j = int(pictures[match.i]), int(pictures[match.j])
            if union.root(i) == union.root(j):
                continue
            compared.add((i, j))
            place_i = fingerprints[i].places[match.window_i]
            place_j = fingerprints[j].places[match.window_j]
            other = registered(j, match.mirrored)
            if match.mirrored:
                place_j = np.array([other.width - place_j[0], *place_j[1:]], np.float32)
            found = correlation(registered(i, False), other, place_i, place_j)
            if found >= least_correlation:
                union.join(i, j)
                links.append(Link(i, j, found, match.mirrored))
    return Groups(union.labels(), links, len(compared))


class _Match(NamedTuple):
    """A window of picture i that is near one of picture j."""

    i: int
    j: int
    window_i: int
    window_j: int
    mirrored: bool


def _matches(
    fingerprints: Sequence[Fingerprint], windows: int | None, distance: int
) -> list[_Match]:
    """The nearest few matches of each pair of pictures, pair by pair, the nearest first."""
    hashes = [each.hashes[:windows] for each in fingerprints]
    counts = [len(each) for each in hashes]
    if not sum(counts):
        return []
    owner = np.repeat(np.arange(len(counts)), counts)
    window = np.concatenate([np.arange(count) for count in counts])
    distinct, inverse = np.unique(np.concatenate(hashes), axis=0, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    sorted_hashes = inverse[order]
    start = np.flatnonzero(np.concatenate([[True], sorted_hashes[1:] != sorted_hashes[:-1]]))
    shared = np.diff(np.append(start, len(order)))
    straight = near_pairs(distinct, distance)
    mirrored = near_pairs(distinct, distance, distinct ^ MIRROR)
    # Mirrored pairs come in both orders: d(x, mirror of y) = d(mirror of x, y).
    once = np.flatnonzero(mirrored.i <= mirrored.j)
    i, j, bits_apart = mirrored.i[once], mirrored.j[once], mirrored.distance[once]
    rows = [
        *_sharing(order, sorted_hashes, shared),
        *_crossed(order, start, shared, straight.i, straight.j, straight.distance, False),
        *_crossed(order, start, shared, i, j, bits_apart, True),
    ]
    a, b, bits, flipped = np.concatenate(rows, axis=1)
    a, b = np.where(owner[a] <= owner[b], (a, b), (b, a))
    apart = owner[a] != owner[b]
    a, b, bits, flipped = a[apart], b[apart], bits[apart], flipped[apart]
    nearest = np.lexsort((b, a, bits, owner[b], owner[a]))
    a, b, flipped = a[nearest], b[nearest], flipped[nearest]
    pair = np.stack([owner[a], owner[b]])
    new = np.any(pair[:, 1:] != pair[:, :-1], axis=0)
    start = np.flatnonzero(np.concatenate([[True], new])[: len(a)])
    rank = np.arange(len(a)) - np.repeat(start, np.diff(np.append(start, len(a))))
    few = rank < _HYPOTHESES
    columns = (owner[a], owner[b], window[a], window[b], flipped.astype(bool))
    return [_Match(*row) for row in zip(*(column[few].tolist() for column in columns), strict=True)]


def _sharing(
    order: NDArray[np.int64], sorted_hashes: NDArray[np.int64], shared: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Pairs of windows with one hash: all pairs where few share it, else one chain."""
    is_few = shared[sorted_hashes] <= _FEW
    for gap in range(1, _FEW):
        same = sorted_hashes[gap:] == sorted_hashes[:-gap]
        if gap > 1:
            same &= is_few[gap:]
        yield _rows(order[:-gap][same], order[gap:][same], 0, False)


def _crossed(
    order: NDArray[np.int64],
    start: NDArray[np.int64],
    shared: NDArray[np.int64],
    i: NDArray[np.int32],
    j: NDArray[np.int32],
    bits: NDArray[np.int16],
    mirrored: bool,
) -> Iterator[NDArray[np.int64]]:
    """Pairs of windows with near hashes i and j: of each hash the first few that have it."""
    for m in range(_CROSSED):
        for n in range(_CROSSED):
            both = (shared[i] > m) & (shared[j] > n)
            a, b = order[start[i[both]] + m], order[start[j[both]] + n]
            yield _rows(a, b, bits[both], mirrored)


def _rows(
    a: NDArray[np.int64], b: NDArray[np.int64], bits: NDArray[np.int16] | int, mirrored: bool
) -> NDArray[np.int64]:
    return np.stack(np.broadcast_arrays(a, b, bits, mirrored)).astype(np.int64)


def kept(
    labels: NDArray[np.int64],
    names: Sequence[str],
    pixels: Sequence[int],
    size: Sequence[int],
    captions: Sequence[str | None] | None = None,
) -> NDArray[np.bool_]:
    """Which picture of each group to keep: one.

    The one with the most pixels; of those the least compressed, that is the largest file (in
    bytes); of those, where `captions` are given, one that has one; of those the first by name.
    """

    def rank(picture: int) -> tuple[int, int, bool, str]:
        has_none = captions is not None and not captions[picture]
        return -pixels[picture], -size[picture], has_none, names[picture]

    best: dict[int, int] = {}
    for picture, label in enumerate(np.asarray(labels).tolist()):
        if rank(picture) < rank(best.setdefault(label, picture)):
            best[label] = picture
    keep = np.zeros(len(names), bool)
    keep[list(best.values())] = True
    return keep
