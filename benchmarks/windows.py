"""A step in windows against the size of the image: time and peak memory, beside a whole step.

    python benchmarks/windows.py [--sizes 1024,2048,4096,8192] [--whole 1024,2048,4096]
        [--window 16] [--grid shifted] [--repeats 3]

A step is one call of the pocket model's transformer as `generate` makes it in a stage: the latents
cut into windows, these through the network in batches, the predictions put together, the low
sub-bands drawn to the stage before. Its weights are random, with a table of positions that reaches
the largest size: the whole image at once, as direct generation sees it, is measured with the same.

- Time: sizes in turn in one process, the median of the repeats; a shifted grid lies elsewhere in
  each. The exponent is the slope of a least-squares line through log time against log tokens.
- Memory: each size in a process of its own, by how much it grows at most during a step after one at
  the smallest size (the system's peak; the C library is told to give back what is freed).
"""

import argparse
import ctypes
import gc
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import torch
from common import save, seconds

from diffusion4k.families import family_of, resolve
from diffusion4k.models.folder import model_index, transformer_config
from diffusion4k.sampling.wavelet_guidance import WaveletGuidance
from diffusion4k.sampling.windows import StageTransformer, Windows

TARGETS = {"exponent": 1.05}
SMALLEST = 512


class Step:
    """Steps of the pocket model, each at another noise level."""

    def __init__(self, window: int, grid: str) -> None:
        folder = resolve("pocket")
        self.family, self.window, self.grid = family_of(folder), window, grid
        config = transformer_config(folder) | {"pos_embed_max_size": 512}
        torch.manual_seed(0)
        kind = getattr(diffusers, model_index(folder)["transformer"][1])
        self.stock = kind.from_config(config).eval()
        self.conditioning = self.family.empty_conditioning(folder, 1)
        self.conditioning = {k: torch.randn(v.shape) for k, v in self.conditioning.items()}
        self.levels = iter(np.linspace(0.6, 0.1, 1000))

    def __call__(self, size: int, *, whole: bool) -> None:
        """One step for an image of `size` x `size` pixels."""
        side = size // self.family.factor
        latents = torch.randn(1, self.stock.config.in_channels, side, side)
        sigma = torch.tensor([next(self.levels)], dtype=torch.float32)
        with torch.no_grad():
            self.family.velocity(
                self.stock if whole else self._in_windows(latents),
                latents,
                sigma,
                self.conditioning,
            )

    def _in_windows(self, latents: torch.Tensor) -> StageTransformer:
        rows, columns = latents.shape[-2:]
        patch = self.family.size_step // self.family.factor
        tokens = min(self.window, rows // patch) * min(self.window, columns // patch)
        guidance = WaveletGuidance(latents, 1, wavelet="db2", weight=1.0, falling=True)
        windows = Windows(self.window * patch, tokens, self.grid, 0)
        return StageTransformer(
            self.stock, self.family, rows, columns, windows=windows, guidance=guidance
        )


def growth(run: Callable[[], object]) -> int:
    """Bytes by which this process grows at most (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def memory_of(size: int, whole: bool, options: argparse.Namespace) -> int:
    """The growth in a step of that size, in a fresh process."""
    arguments = [sys.executable, __file__, "--window", options.window, "--grid", options.grid]
    arguments += ["--memory-of", json.dumps([size, whole])]
    run = subprocess.run(
        list(map(str, arguments)),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        check=True,
    )
    return int(run.stdout.splitlines()[-1])


def exponent(sizes: list[int], times: list[float]) -> float:
    """Of the number of tokens, which grows as the square of the size."""
    tokens = [2 * math.log(size) for size in sizes]
    return float(np.polyfit(tokens, np.log(times), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1024,2048,4096,8192", help="pixels a side, in windows")
    parser.add_argument("--whole", default="1024,2048,4096", help="pixels a side, seen whole")
    parser.add_argument("--window", type=int, default=16, help="tokens a side")
    parser.add_argument("--grid", default="shifted", choices=("shifted", "overlap"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", help="of one step alone: [size, whole] as JSON")
    options = parser.parse_args()
    step = Step(options.window, options.grid)
    if options.memory_of:
        size, whole = json.loads(options.memory_of)
        step(SMALLEST, whole=whole)
        print(growth(lambda: step(size, whole=whole)))
        return
    cases = [(int(size), False) for size in options.sizes.split(",")]
    cases += [(int(size), True) for size in options.whole.split(",") if size]
    times: dict[tuple[int, bool], list[float]] = {case: [] for case in cases}
    step(SMALLEST, whole=False)
    for repeat in range(options.repeats):
        for size, whole in cases:
            # The largest whole step takes as long as all others together: once is enough.
            if not (whole and size >= 4096 and repeat):
                times[size, whole].append(seconds(lambda s=size, w=whole: step(s, whole=w)))
    rows = []
    for size, whole in cases:
        row = {
            "size": size,
            "seen": "whole" if whole else "in windows",
            "seconds": statistics.median(times[size, whole]),
            "runs": times[size, whole],
            "growth_mib": memory_of(size, whole, options) / 2**20,
            "latents_mib": 4 * 16 * (size // step.family.factor) ** 2 / 2**20,
        }
        rows.append(row)
        print(
            f"{size}x{size} {row['seen']}: {row['seconds']:.2f} s, grows by "
            f"{row['growth_mib']:.0f} MiB (latents of {row['latents_mib']:.1f} MiB)",
            flush=True,
        )
    found = {}
    for seen in ("in windows", "whole"):
        own = [row for row in rows if row["seen"] == seen]
        if len(own) > 1:
            found[seen] = exponent([row["size"] for row in own], [row["seconds"] for row in own])
            print(f"exponent in tokens, {seen}: {found[seen]:.3f}")
    settings = {"window": options.window, "grid": options.grid}
    save("windows", {**settings, "exponents": found, "targets": TARGETS, "steps": rows})


if __name__ == "__main__":
    main()
