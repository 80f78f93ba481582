"""What sampling costs beside the model: `generate` over (steps x transformer forward + decode).

Both are measured in the same run, in turn. `generate` is the whole call for a new prompt with a
loaded pipeline: text encoding, the stock pipeline, and the PNG with its record on disk.

    python benchmarks/sampling_overhead.py [--model pocket] [--size 2048] [--repeats 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.common import save_result
from diffusion4k.sampling import Request, Sampler, Settings, generate

TARGET = 1.05


def main() -> None:
    """Measure, print the ratio and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    started = time.perf_counter()
    sampler = Sampler(arguments.model)
    sampler.load()
    load = time.perf_counter() - started

    size = arguments.size
    settings = sampler.settle(Request("a warm-up", width=size, height=size))
    bare = Bare(sampler, settings)
    bare.run()
    ours, bares = [], []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats):
            request = Request(f"a mountain lake, number {repeat}", width=size, height=size)
            started = time.perf_counter()
            generate([request], sampler, out=Path(folder), progress=False)
            ours.append(time.perf_counter() - started)
            bares.append(bare.run())

    ratio = statistics.median(a / b for a, b in zip(ours, bares, strict=True))
    result = {
        "model": arguments.model,
        "size": size,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "generate_seconds": ours,
        "forwards_and_decode_seconds": bares,
        "load_seconds": load,
        "ratio": ratio,
        "target": TARGET,
    }
    print(f"{size}x{size}, {settings.steps} steps: generate {statistics.median(ours):.2f} s")
    print(f"steps x forward + decode: {statistics.median(bares):.2f} s")
    print(f"ratio {ratio:.3f} (target at most {TARGET}); model loaded in {load:.1f} s")
    save_result("sampling_overhead", result)


class Bare:
    """The model alone: as many forwards as the image has steps, and one decode."""

    def __init__(self, sampler: Sampler, settings: Settings) -> None:
        self.family, self.pipeline, self.steps = sampler.family, sampler.pipeline, settings.steps
        encoders = self.family.load_text_encoders(sampler.folder, dtype=self.pipeline.dtype)
        prompts = [settings.prompt] * (2 if settings.guidance > 1 else 1)
        self.conditioning = self.family.encode_text(encoders, prompts)
        channels = self.pipeline.transformer.config.in_channels
        shape = (len(prompts), channels, settings.height // 16, settings.width // 16)
        self.latents = torch.randn(shape, dtype=self.pipeline.dtype)

    @torch.no_grad()
    def run(self) -> float:
        """Seconds taken."""
        started = time.perf_counter()
        for step in range(self.steps):
            sigma = torch.full((len(self.latents),), 1 - step / self.steps)
            self.family.velocity(self.pipeline.transformer, self.latents, sigma, self.conditioning)
        self.family.decode_latents(self.pipeline.vae, self.latents[:1])
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
