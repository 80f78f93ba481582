"""Search among a million hashes: all near pairs, exactly; time and peak memory of its own process.

    python benchmarks/duplicate_search.py                  # 1,000,000 hashes of 128 bits, 15 bits
    python benchmarks/duplicate_search.py --count 100000

The hashes: half random; a fifth planted, each a random hash with 0 to twice the distance of its
bits flipped; a fifth in clusters of 20 around a centre, 3 to 18 bits off; the rest adversarial: in
sets of 5,000 that share half of their bits, so that whole tables have them in one bucket.

Checked: every planted pair within the distance is found, no pair beyond it is reported, none twice;
and for a sample of hashes the pairs are those of brute force. The reference is that brute force (a
compiled loop of popcounts over all pairs), timed in turn with ours on fewer hashes; its time for
all is reckoned from there, as it grows with the square.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import compare, peak_memory, save
from numba import njit
from numpy.typing import NDArray

WORDS = 2


@njit(nogil=True)
def _brute_force(
    hashes: NDArray[np.uint64], rows: NDArray[np.int64], distance: int, later: bool
) -> list:
    """All pairs of the given rows with any other, or with any `later` one."""
    found = [(0, 0, 0) for _ in range(0)]
    for i in rows:
        for j in range(i + 1 if later else 0, len(hashes)):
            bits = 0
            for word in range(hashes.shape[1]):
                x = hashes[i, word] ^ hashes[j, word]
                x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
                x = (x & np.uint64(0x3333333333333333)) + (
                    (x >> np.uint64(2)) & np.uint64(0x3333333333333333)
                )
                x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
                bits += np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))
            if bits <= distance and i != j:
                found.append((np.int64(i), np.int64(j), bits))
    return found


def flip(
    hashes: NDArray[np.uint64], counts: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.uint64]:
    """Each hash with so many of its bits flipped."""
    bits = 64 * WORDS
    places = random.random((len(hashes), bits)).argsort(axis=1).argsort(axis=1)
    mask = np.packbits(places < counts[:, None], axis=1, bitorder="little").view("<u8")
    return hashes ^ mask


def synthetic(count: int, distance: int, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Hashes `(count, words)`, and the planted pairs `(n, 3)`: i, j, distance."""
    random = np.random.default_rng(seed)

    def draw(number: int) -> NDArray[np.uint64]:
        return random.integers(0, 2**64, (number, WORDS), dtype=np.uint64)

    fifth = count // 5
    planted_of = random.choice(count - 3 * fifth + fifth // 2, fifth, replace=False)
    uniform = draw(count - 3 * fifth + fifth // 2)
    flips = random.integers(0, 2 * distance + 1, fifth)
    parts = [uniform]
    for start in range(0, fifth, 50_000):
        end = min(start + 50_000, fifth)
        parts.append(flip(uniform[planted_of[start:end]], flips[start:end], random))
    centres = np.repeat(draw(-(-fifth // 20)), 20, axis=0)[:fifth]
    for start in range(0, fifth, 50_000):
        chosen = centres[start : start + 50_000]
        parts.append(flip(chosen, random.integers(3, 19, len(chosen)), random))
    rest = draw(count - sum(map(len, parts)))
    shared = np.repeat(draw(-(-len(rest) // 5000)), 5000, axis=0)[: len(rest)]
    rest[:, 0] = shared[:, 0]
    order = random.permutation(count)
    place = np.argsort(order)
    planted = np.stack([place[planted_of], place[len(uniform) + np.arange(fifth)], flips], axis=1)
    planted[:, :2].sort(axis=1)
    return np.concatenate([*parts, rest])[order], planted


def check(hashes: NDArray, planted: NDArray, pairs: Any, distance: int, sample: int) -> int:
    """Raise if a pair is missing, wrong or reported twice; return how many were checked."""
    real = np.bitwise_count(hashes[pairs.i] ^ hashes[pairs.j]).sum(axis=1)
    assert (real == pairs.distance).all() and (real <= distance).all() and (pairs.i < pairs.j).all()
    keys = pairs.i.astype(np.int64) * len(hashes) + pairs.j
    assert (np.diff(keys) > 0).all(), "a pair is reported twice"
    near = planted[planted[:, 2] <= distance]
    assert np.isin(near[:, 0] * len(hashes) + near[:, 1], keys).all(), "a planted pair is missing"
    rows = np.random.default_rng(1).choice(len(hashes), sample, replace=False)
    expected = {
        (min(i, j), max(i, j), d) for i, j, d in _brute_force(hashes, rows, distance, False)
    }
    chosen = np.isin(pairs.i, rows) | np.isin(pairs.j, rows)
    found = zip(pairs.i[chosen], pairs.j[chosen], pairs.distance[chosen], strict=True)
    assert {tuple(map(int, pair)) for pair in found} == expected, "differs from brute force"
    return len(near) + len(expected)


def run(path: Path, distance: int) -> None:
    """The search alone, in a process of its own; pairs beside the hashes, times to stdout."""
    from diffusion4k.curation.duplicates import near_pairs

    hashes = np.load(path)
    near_pairs(hashes[:3000], distance)  # compiles
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = near_pairs(hashes, distance)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    np.savez(path.with_suffix(".npz"), **pairs._asdict())
    print(json.dumps({"seconds": round(wall, 2), "processor_seconds": round(cpu, 2)}))


def main() -> None:
    import tempfile

    from diffusion4k.curation.duplicates import Pairs, near_pairs

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--distance", type=int, default=15)
    parser.add_argument("--fewer", type=int, default=40_000, help="hashes for the reference")
    parser.add_argument("--sample", type=int, default=2000, help="hashes checked by brute force")
    parser.add_argument("--hashes", type=Path, help="search these alone, and nothing else")
    options = parser.parse_args()
    if options.hashes:
        run(options.hashes, options.distance)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hashes.npy"
        hashes, planted = synthetic(options.count, options.distance)
        np.save(path, hashes)
        arguments = [__file__, "--hashes", path, "--distance", str(options.distance)]
        peak, output = peak_memory(arguments)
        times = json.loads(output)
        pairs = Pairs(**np.load(path.with_suffix(".npz")))
    checked = check(hashes, planted, pairs, options.distance, options.sample)
    print(f"{len(hashes)} hashes: {len(pairs.i)} pairs within {options.distance} bits, {times}")
    print(f"peak {peak:.2f} GiB; {checked} planted and sampled pairs as they should be")
    fewer, _ = synthetic(options.fewer, options.distance)
    rows = np.arange(len(fewer))
    comparison = compare(
        lambda: near_pairs(fewer, options.distance),
        lambda: _brute_force(fewer, rows, options.distance, True),
        repeats=3,
    )
    reckoned = comparison.reference_median * (options.count / options.fewer) ** 2
    print(f"{options.fewer} hashes: {comparison}")
    print(f"brute force over {options.count} reckoned at {reckoned:.0f} s on one core")
    save(
        "duplicate_search",
        {
            "count": options.count,
            "bits": 64 * WORDS,
            "distance": options.distance,
            "pairs": len(pairs.i),
            **times,
            "peak_gib": round(peak, 3),
            "checked_pairs": checked,
            "fewer": options.fewer,
            "fewer_comparison": comparison,
            "brute_force_reckoned_seconds_one_core": round(reckoned, 1),
        },
    )


if __name__ == "__main__":
    main()
