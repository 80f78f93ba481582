"""The search among hashes against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diffusion4k.curation.duplicates import near_pairs
from diffusion4k.curation.duplicates.hamming import _plan


def brute_force(
    hashes: NDArray[np.uint64], distance: int, others: NDArray[np.uint64] | None = None
) -> list[tuple[int, int, int]]:
    """Every pair: bits as -1 and 1, whose products sum to bits - 2 * distance."""
    rows, columns = (
        2 * np.unpackbits(part.view(np.uint8), axis=1).astype(np.float32) - 1
        for part in (hashes, hashes if others is None else others)
    )
    table = ((64 * hashes.shape[1] - rows @ columns.T) / 2).astype(int)
    if others is None:
        table[np.tril_indices(len(hashes))] = distance + 1
    return [(i, j, table[i, j]) for i, j in np.argwhere(table <= distance).tolist()]


def found(*arguments: object) -> list[tuple[int, int, int]]:
    return [tuple(pair) for pair in np.stack(near_pairs(*arguments), axis=1).tolist()]


def clustered(random: np.random.Generator, count: int, words: int, spread: float) -> NDArray:
    """Hashes around a few centres, each bit flipped with probability `spread`."""
    centres = random.integers(0, 2**64, (3, words), dtype=np.uint64)
    noise = random.random((count, 64 * words)) < spread
    mask = np.packbits(noise, axis=1).view(np.uint64)
    return centres[random.integers(0, 3, count)] ^ mask


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 120),
    words=st.integers(1, 4),
    distance=st.integers(0, 260),
    spread=st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5]),
)
def test_all_pairs_and_no_others(
    seed: int, count: int, words: int, distance: int, spread: float
) -> None:
    hashes = clustered(np.random.default_rng(seed), count, words, spread)
    assert found(hashes, distance) == brute_force(hashes, distance)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.tuples(st.integers(0, 80), st.integers(0, 80)),
    distance=st.integers(0, 40),
)
def test_pairs_with_others(seed: int, counts: tuple[int, int], distance: int) -> None:
    random = np.random.default_rng(seed)
    hashes = clustered(random, sum(counts), 2, 0.05)
    left, right = hashes[: counts[0]], hashes[counts[0] :]
    assert found(left, distance, right) == brute_force(left, distance, right)


@pytest.mark.parametrize(("words", "distance"), [(1, 0), (1, 3), (2, 15), (2, 20), (4, 31), (4, 5)])
def test_many_hashes_in_several_tables(words: int, distance: int) -> None:
    random = np.random.default_rng(distance)
    hashes = random.integers(0, 2**64, (3000, words), dtype=np.uint64)
    hashes[2000:] = clustered(random, 1000, words, 0.06)
    hashes[2500:, 0] = 0  # whole tables have these in one bucket
    assert _plan(hashes, hashes, distance)[0][0, 1] > 0, "not the pairwise search"
    assert found(hashes, distance) == brute_force(hashes, distance)


def test_equal_hashes_are_all_pairs() -> None:
    hashes = np.full((50, 2), 7, np.uint64)
    assert found(hashes, 0) == [(i, j, 0) for i in range(50) for j in range(i + 1, 50)]


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(count: int) -> None:
    assert found(np.zeros((count, 2), np.uint64), 128) == []


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match="distance -1"):
        near_pairs(np.zeros((2, 2), np.uint64), -1)
    with pytest.raises(ValueError, match=r"shape \(2, 4\)"):
        near_pairs(np.zeros((2, 2), np.uint64), 1, np.zeros((2, 4), np.uint64))
