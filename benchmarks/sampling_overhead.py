"""Our sampling against the stock pipeline: the same model, prompt, steps and size.

Each is a fresh process, in turn several times. Ours is `generate`: text encoding, the stock
pipeline's loop with our checks, decoding in strips, the PNG with its record. Stock is the pipeline
called by itself, its autoencoder at F=16, and `image.save`. The clock starts with the pipeline in
memory and an image made; the peak is that of the process, from loading to the file on disk.

    python benchmarks/sampling_overhead.py [--model pocket] [--size 2048] [--repeats 5]
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from common import peak_memory, save, seconds

from diffusion4k.families import family_of, resolve
from diffusion4k.sampling import Request, Sampler, generate

TARGETS = {"time": 1.02, "memory": 1.0}
PROMPTS = ("a lake", "a mountain lake at dawn")


def ours(model: str, size: int, folder: Path) -> Callable[[str], object]:
    """What makes an image of a prompt by `generate`."""
    sampler = Sampler(model)

    def make(prompt: str) -> None:
        request = Request(prompt, width=size, height=size)
        generate([request], sampler, out=folder, progress=False)

    return make


def stock(model: str, size: int, folder: Path) -> Callable[[str], object]:
    """What makes an image of a prompt by the stock pipeline."""
    path = resolve(model)
    family = family_of(path)
    defaults = family.defaults(path)
    pipeline = family.load_pipeline(path, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def make(prompt: str) -> None:
        image = pipeline(
            prompt,
            width=size,
            height=size,
            num_inference_steps=defaults.steps,
            guidance_scale=defaults.guidance,
            generator=torch.Generator().manual_seed(0),
        ).images[0]
        image.save(folder / f"{prompt}.png")

    return make


def run(side: str, model: str, size: int) -> None:
    """One process: an image to warm up, then one by the clock; prints its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        make = {"ours": ours, "stock": stock}[side](model, size, Path(folder))
        first, second = PROMPTS
        make(first)
        print(seconds(lambda: make(second)))


def main() -> None:
    """Measure both in turn, print the ratios and save them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", choices=("ours", "stock"), help="One measurement, here.")
    options = parser.parse_args()
    if options.side:
        run(options.side, options.model, options.size)
        return
    arguments = [__file__, "--model", options.model, "--size", options.size]
    measured: dict[str, dict[str, list[float]]] = {
        side: {"seconds": [], "peak_gib": []} for side in ("ours", "stock")
    }
    for _ in range(options.repeats):
        for side, figures in measured.items():
            peak, output = peak_memory([*map(str, arguments), "--side", side])
            figures["seconds"].append(float(output.split()[-1]))
            figures["peak_gib"].append(peak)
    medians = {
        side: {name: statistics.median(values) for name, values in figures.items()}
        for side, figures in measured.items()
    }
    ratios = {
        "time": medians["ours"]["seconds"] / medians["stock"]["seconds"],
        "memory": medians["ours"]["peak_gib"] / medians["stock"]["peak_gib"],
    }
    print(
        f"{options.model} at {options.size}x{options.size}, medians of {options.repeats} processes"
    )
    for side, figures in medians.items():
        print(f"{side}: {figures['seconds']:.2f} s, peak {figures['peak_gib']:.2f} GiB")
    for name, ratio in ratios.items():
        print(f"{name} ratio {ratio:.3f} (target at most {TARGETS[name]})")
    save(
        "sampling_overhead",
        {
            "model": options.model,
            "size": options.size,
            "measured": measured,
            "medians": medians,
            "ratios": ratios,
            "targets": TARGETS,
        },
    )


if __name__ == "__main__":
    main()
