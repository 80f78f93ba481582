"""Haar transform: this package against a strided convolution and PyWavelets, time and memory.

    python benchmarks/wavelet.py

On latents of one and of eight 4096x4096 images at F=16. The convolution's result is brought into
the same order of channels. PyWavelets has no gradient: it is compared with the transform alone.
Times are processor seconds of one thread: runs this short would otherwise measure what else the
machine is doing.
"""

import statistics
import sys
import time
from collections.abc import Callable

import common
import pywt
import torch
import torch.nn.functional as F
from torch import Tensor

from diffusion4k.wavelet import dwt2

SHAPES = ((1, 16, 256, 256), (8, 16, 256, 256))
REPEATS = 15
SIGNS = torch.tensor([[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]])


def by_convolution(x: Tensor) -> Tensor:
    """The same sub-bands from one grouped convolution of stride 2."""
    channels = x.shape[1]
    kernel = (SIGNS / 2).unsqueeze(1).repeat(channels, 1, 1, 1)
    bands = F.conv2d(x, kernel, stride=2, groups=channels)
    return bands.unflatten(1, (channels, 4)).transpose(1, 2).flatten(1, 2)


def by_pywavelets(x: Tensor) -> object:
    return pywt.dwt2(x.numpy(), "haar", mode="periodization", axes=(-2, -1))


def with_gradient(transform, x: Tensor) -> None:
    x = x.detach().requires_grad_()
    transform(x).square().mean().backward()


RUNS = {
    "nothing": lambda x: None,
    "ours": dwt2,
    "convolution": by_convolution,
    "PyWavelets": by_pywavelets,
    "ours with gradient": lambda x: with_gradient(dwt2, x),
    "convolution with gradient": lambda x: with_gradient(by_convolution, x),
}
PAIRS = (
    ("ours", "convolution"),
    ("ours", "PyWavelets"),
    ("ours with gradient", "convolution with gradient"),
)


def processor_seconds(run: Callable[[Tensor], object], x: Tensor) -> float:
    start = time.process_time()
    run(x)
    return time.process_time() - start


def times(x: Tensor) -> dict[str, dict[str, float]]:
    """Median milliseconds of each pair, measured in turn, and how often ours fits in theirs."""
    results = {}
    for pair in PAIRS:
        runs = [RUNS[name] for name in pair]
        measured = [[processor_seconds(run, x) for run in runs] for _ in range(REPEATS + 1)]
        # The first run of each warms up.
        ours, reference = (1000 * statistics.median(t) for t in zip(*measured[1:], strict=True))
        name = f"{pair[0]} against {pair[1]}"
        print(f"  {name}: {ours:.2f} ms, {reference:.2f} ms: {reference / ours:.2f}x")
        ratio = round(reference / ours, 2)
        results[name] = {"ours_ms": ours, "reference_ms": reference, "ratio": ratio}
    return results


def memory(batch: int) -> dict[str, float]:
    """MiB of each run above those of a process that only holds the input."""
    peaks = {name: common.peak_memory([__file__, name, str(batch)])[0] * 1024 for name in RUNS}
    nothing = peaks.pop("nothing")
    added = {name: round(peak - nothing, 1) for name, peak in peaks.items()}
    print("  peak MiB above the input: " + ", ".join(f"{k} {v}" for k, v in added.items()))
    return added


def main() -> None:
    """Time the pairs in turn, measure each run's memory, keep the result."""
    torch.set_num_threads(1)
    result: dict[str, object] = {"runs_of_each": REPEATS}
    for shape in SHAPES:
        print(shape)
        x = torch.randn(shape)
        torch.testing.assert_close(dwt2(x), by_convolution(x))
        result[str(shape)] = {**times(x), "peak_mib_above_input": memory(shape[0])}
    common.save("wavelet", result)


if __name__ == "__main__":
    if len(sys.argv) == 3:  # one run in a process of its own, for its peak
        torch.set_num_threads(1)
        inputs = torch.randn(int(sys.argv[2]), *SHAPES[0][1:])
        RUNS[sys.argv[1]](inputs)
    else:
        main()
