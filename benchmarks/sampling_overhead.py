"""What sampling costs beside the model: `generate` over (steps x transformer forward + decode).

`generate` is the whole call for a new prompt with the pipeline loaded: text encoding, the stock
pipeline, and the PNG with its record on disk. Target at 2048x2048: at most 1.05.

    python benchmarks/sampling_overhead.py [--model pocket] [--size 2048] [--repeats 5]
"""

import argparse
import itertools
import tempfile

import torch
from common import compare, save, seconds

from diffusion4k.sampling import Request, Sampler, Settings, generate

TARGET = 1.05


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
    def __call__(self) -> None:
        for step in range(self.steps):
            sigma = torch.full((len(self.latents),), 1 - step / self.steps)
            self.family.velocity(self.pipeline.transformer, self.latents, sigma, self.conditioning)
        for _ in self.family.decode_strips(self.pipeline.vae, self.latents[:1]):
            pass


def main() -> None:
    """Measure both in turn, print the ratio and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    sampler = Sampler(options.model)
    load_seconds = seconds(sampler.load)
    settings = sampler.settle(Request("a lake", width=options.size, height=options.size))
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:

        def ours() -> None:
            request = Request(f"lake {next(numbers)}", width=options.size, height=options.size)
            generate([request], sampler, out=folder, progress=False)

        times = compare(ours, Bare(sampler, settings), options.repeats)

    overhead = times.ours_median / times.reference_median
    print(f"{options.model} at {options.size}x{options.size}, {settings.steps} steps")
    print(f"generate {times.ours_median:.2f} s, forwards and decode {times.reference_median:.2f} s")
    print(
        f"ratio {overhead:.3f} (target at most {TARGET}); pipeline loaded in {load_seconds:.1f} s"
    )
    save(
        "sampling_overhead",
        {
            "model": options.model,
            "size": options.size,
            "steps": settings.steps,
            "guidance": settings.guidance,
            "times": times,
            "overhead": overhead,
            "target": TARGET,
            "load_seconds": load_seconds,
        },
    )


if __name__ == "__main__":
    main()
