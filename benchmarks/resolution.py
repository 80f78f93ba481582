"""Memory and time of a training step against resolution, with and without gradient checkpointing.

Steps of the pocket model on random latents, each size in a fresh process. Saves a JSON and a plot;
the exponent is that of a power law through the two largest sizes (seconds or bytes ~ pixels^e).

    python benchmarks/resolution.py [--sizes 512 1024 2048 4096] [--steps 3]
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import RESULTS, save

KINDS = {"all kept": False, "selective": "selective", "computed again": True}


def measure(side: int, kind: str, steps: int) -> dict[str, float]:
    """Seconds of the fastest step, and the peak of the process above its start."""
    import torch

    from diffusion4k.families import family_of, resolve
    from diffusion4k.objectives import WaveletFlow
    from diffusion4k.training.engine.engine import blocks_of
    from diffusion4k.training.engine.recompute import recompute
    from diffusion4k.training.step import denoising_loss

    model = resolve("pocket")
    family = family_of(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network: Any = family.load_transformer(model, dtype=torch.float32)
    network.requires_grad_(True).train()
    if KINDS[kind]:
        network.enable_gradient_checkpointing(recompute(KINDS[kind], blocks_of(network)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)
    latents = torch.randn(1, 16, side // 16, side // 16)
    empty = family.empty_conditioning(model, 1)
    conditioning = {name: torch.zeros(t.shape, dtype=t.dtype) for name, t in empty.items()}
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        denoising_loss(
            family,
            network,
            WaveletFlow(),
            latents=latents,
            conditioning=conditioning,
            noise=torch.randn_like(latents),
            sigma=torch.rand(1),
        ).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": round(min(times), 3), "mib": round(peak / 1024, 1)}


def exponent(sizes: list[int], values: list[float]) -> float:
    """Of pixels, between the two largest sizes."""
    return math.log(values[-1] / values[-2]) / (2 * math.log(sizes[-1] / sizes[-2]))


def plot(sizes: list[int], results: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Both figures, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, what, name in zip(
        axes, ("seconds", "mib"), ("seconds a step", "peak, MiB"), strict=True
    ):
        for (kind, found), marker in zip(results.items(), "os^", strict=True):
            values = [found[str(size)][what] for size in sizes]
            label = f"{kind}: pixels^{exponent(sizes, values):.2f}"
            axis.plot(sizes, values, marker=marker, markersize=4, label=label)
        axis.set(xscale="log", yscale="log", xlabel="pixels a side", ylabel=name)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure all, print, plot and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--one", help="a size and a kind, nothing else", nargs=2)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(int(options.one[0]), options.one[1], options.steps)))
        return
    results: dict[str, dict[str, dict[str, float]]] = {kind: {} for kind in KINDS}
    for size in options.sizes:
        for kind in KINDS:
            steps = options.steps if size < 4096 else 2
            command = [sys.executable, __file__, "--one", str(size), kind, "--steps", str(steps)]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[kind][str(size)] = json.loads(run.stdout.splitlines()[-1])
            print(f"{size} {kind}: {results[kind][str(size)]}", flush=True)
    exponents = {
        kind: {
            what: round(exponent(options.sizes, [found[str(s)][what] for s in options.sizes]), 3)
            for what in ("seconds", "mib")
        }
        for kind, found in results.items()
    }
    print(f"exponents of pixels: {exponents}")
    plot(options.sizes, results, RESULTS / "resolution.png")
    save("resolution", {"results": results, "exponents_of_pixels": exponents})


if __name__ == "__main__":
    main()
