"""Fréchet distance at 2048 dimensions: this package against SciPy's matrix square root.

    python benchmarks/frechet.py

Both sides start from the same features, 3,000 against 4,000 of them with variances that fall off
over six decades, as those of networks do; ours reads them in pieces of 64 rows, as a folder's
pictures come. The reference takes NumPy's means and covariances and `scipy.linalg.sqrtm`. Then,
ours alone: the same with fewer samples than dimensions, against the exact value for their subspace,
and the peak memory with four times the samples.
"""

import sys
import warnings
from collections.abc import Iterator

import common
import numpy as np
from scipy.linalg import sqrtm

from diffusion4k.metrics import frechet_distance
from diffusion4k.metrics.frechet import FewSamplesWarning, Gaussian

DIMENSION = 2048


def features(count: int, seed: int) -> np.ndarray:
    """Correlated features `(count, 2048)`; the two seeds' distributions differ."""
    rng = np.random.default_rng(seed)
    scale = np.geomspace(1, 1e-3, DIMENSION)
    mixing, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(DIMENSION, DIMENSION)))
    return (rng.normal(size=(count, DIMENSION)) * scale * (1 + 0.2 * seed)) @ mixing + 0.01 * seed


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """64 rows at a time."""
    for n in range(0, len(array), 64):
        yield array[n : n + 64]


def by_square_root(a: np.ndarray, b: np.ndarray) -> float:
    """The formula with SciPy."""
    s_a, s_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(s_a + s_b - 2 * sqrtm(s_a @ s_b).real))


def few_samples_difference() -> float:
    """Relative difference with 300 and 200 samples from the value in their subspace."""
    a, b = features(300, 1), features(200, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        ours = frechet_distance(pieces(a), pieces(b))
    assert len(caught) == 1, "ours must say that there are too few samples"
    # A rotation changes nothing: 499 axes hold all the samples' covariance.
    axes = np.linalg.qr(np.vstack([a - a.mean(0), b - b.mean(0)]).T)[0]
    shift = a.mean(0) - b.mean(0)
    s_a, s_b = (np.cov(x @ axes, rowvar=False) for x in (a, b))
    values, vectors = np.linalg.eigh(s_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ s_b @ root), 0)).sum()
    expected = float(shift @ shift + np.trace(s_a) + np.trace(s_b) - 2 * mixed)
    return abs(ours / expected - 1)


def streamed(count: int) -> None:
    """A process of its own: `count` samples made and folded on the way."""
    rng = np.random.default_rng(0)
    Gaussian(rng.normal(size=(64, DIMENSION)) for _ in range(count // 64))


def main() -> None:
    """Run both in turn, print ratio, difference and memory, keep the result."""
    if sys.argv[1:2] == ["--streamed"]:
        streamed(int(sys.argv[2]))
        return
    a, b = features(3000, 1), features(4000, 2)
    ours: list[float] = []
    reference: list[float] = []
    speed = common.compare(
        lambda: ours.append(frechet_distance(pieces(a), pieces(b))),
        lambda: reference.append(by_square_root(a, b)),
        repeats=2,
        warmup=0,
    )
    difference = abs(ours[0] / reference[0] - 1)
    few = few_samples_difference()
    memory = {n: common.peak_memory([__file__, "--streamed", str(n)])[0] for n in (5120, 20480)}
    print(f"Fréchet distance at {DIMENSION} dimensions: {speed}")
    print(f"relative difference {difference:.1e}")
    print(f"300 against 200 samples: relative difference {few:.1e} from the exact value")
    print(", ".join(f"{n} samples: peak {gib:.2f} GiB" for n, gib in memory.items()))
    common.save(
        "frechet",
        {
            "dimension": DIMENSION,
            "speed": speed,
            "relative_difference": difference,
            "relative_difference_few_samples": few,
            "peak_gib_by_samples": memory,
        },
    )


if __name__ == "__main__":
    main()
