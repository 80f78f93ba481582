"""Our sampling against the stock pipeline: the same model, prompt, steps and size.

Each is a fresh process, in turn several times; the fastest of each counts, as the load of others
only adds. Ours is `generate`: text encoding, the stock pipeline's loop with our checks, decoding in
strips, the PNG with its record. Stock is the pipeline called by itself, its autoencoder at F=16,
and `image.save`. The clock starts with the pipeline in memory and an image made; the peak is that
of the process, from loading to the file on disk. Where other programs run, the processor's time
(`cpu`) tells more than the clock.

    python benchmarks/sampling_overhead.py [--model pocket] [--size 2048] [--repeats 5]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import peak_memory, save, seconds

from diffusion4k.families import family_of, resolve
from diffusion4k.sampling import Request, Sampler, generate

TARGETS = {"image": 1.02, "image_cpu": 1.02, "loop": 1.02, "loop_cpu": 1.02, "memory": 1.0}
PROMPTS = ("a lake", "a mountain lake at dawn", "a harbour in the fog")


class Ours:
    """An image of a prompt by `generate`, or its latents alone by `Sampler.denoise`."""

    def __init__(self, model: str, size: int, folder: Path) -> None:
        self.sampler, self.size, self.folder = Sampler(model), size, folder

    def image(self, prompt: str) -> None:
        generate([self.request(prompt)], self.sampler, out=self.folder, progress=False)

    def latents(self, prompt: str) -> None:
        self.sampler.denoise(self.sampler.settle(self.request(prompt)))

    def request(self, prompt: str) -> Request:
        return Request(prompt, width=self.size, height=self.size)


class Stock:
    """The same by the stock pipeline."""

    def __init__(self, model: str, size: int, folder: Path) -> None:
        path = resolve(model)
        family = family_of(path)
        defaults = family.defaults(path)
        self.pipeline = family.load_pipeline(path, dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self.folder = folder
        self.options = {
            "width": size,
            "height": size,
            "num_inference_steps": defaults.steps,
            "guidance_scale": defaults.guidance,
        }

    def image(self, prompt: str) -> None:
        self.call(prompt, "pil")[0].save(self.folder / f"{prompt}.png")

    def latents(self, prompt: str) -> None:
        self.call(prompt, "latent")

    def call(self, prompt: str, output_type: str) -> Any:
        generator = torch.Generator().manual_seed(0)
        return self.pipeline(
            prompt, generator=generator, output_type=output_type, **self.options
        ).images


SIDES = {"ours": Ours, "stock": Stock}


def run(side: str, model: str, size: int) -> None:
    """One process: an image to warm up, then one and the latents of another by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        made_by = SIDES[side](model, size, Path(folder))
        warm_up, first, second = PROMPTS
        made_by.image(warm_up)
        for make, prompt in ((made_by.image, first), (made_by.latents, second)):
            before = time.process_time()
            print(seconds(lambda make=make, prompt=prompt: make(prompt)))
            print(time.process_time() - before)


def main() -> None:
    """Measure both in turn, print the ratios and save them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help="One measurement, in this process.")
    options = parser.parse_args()
    if options.side:
        run(options.side, options.model, options.size)
        return
    arguments = [__file__, "--model", options.model, "--size", options.size]
    measured: dict[str, dict[str, list[float]]] = {
        side: {name: [] for name in TARGETS} for side in SIDES
    }
    for _ in range(options.repeats):
        for side, figures in measured.items():
            peak, output = peak_memory([*map(str, arguments), "--side", side])
            times = map(float, output.split()[-4:])
            for name, value in zip(TARGETS, (*times, peak), strict=True):
                figures[name].append(value)
    best = {
        side: {name: min(values) for name, values in figures.items()}
        for side, figures in measured.items()
    }
    ratios = {name: best["ours"][name] / best["stock"][name] for name in TARGETS}
    size = f"{options.size}x{options.size}"
    print(f"{options.model} at {size}, best of {options.repeats} processes of each, in turn")
    for side, figures in best.items():
        told = {name: f"{figure:.2f}" for name, figure in figures.items()}
        print(
            f"{side}: image {told['image']} s (cpu {told['image_cpu']}), latents alone "
            f"{told['loop']} s (cpu {told['loop_cpu']}), peak {told['memory']} GiB"
        )
    for name, ratio in ratios.items():
        print(f"{name} ratio {ratio:.3f} (target at most {TARGETS[name]})")
    save(
        "sampling_overhead",
        {
            "model": options.model,
            "size": options.size,
            "measured": measured,
            "best": best,
            "ratios": ratios,
            "targets": TARGETS,
        },
    )


if __name__ == "__main__":
    main()
