"""What each way to faster steps gains, and what it costs in quality, beside the exact image.

    python benchmarks/sampling_speed.py [caches|guidance|compile ...] [--model pocket] [--size 1024]
        [--steps 28] [--prompts 8] [--first 0] [--guidance-scale 3] [--out NAME]
    python benchmarks/sampling_speed.py --merge RESULT.json RESULT.json ... [--out NAME]

Without a part's name all are run; `--merge` puts runs of other parts or prompts together. Each row
is one way; for each prompt the exact image and those of all ways are made in turn, in one process.

- Time is the CPU's (`time.process_time`), as other programs may run; with one thread it is
  the clock's of an idle machine. `steps` is the denoising alone, `image` with decoding.
- PSNR is to the exact image, in decibels over all pixels; the mean over the prompts.
- Detail distance is of `diffusion4k.metrics`; its difference to the exact image's is paired by
  prompt, with a bootstrap interval of 95%.
- `caches`: without guidance. `guidance`: exact is guidance in all steps.
- `compile`: in fresh processes, an image of 4 steps and then one more: uncompiled, compiled with an
  empty cache, compiled again. `start` is from the start of the process to the first image, `again`
  the second image.

Results are saved with a description of the machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import save
from numpy.typing import NDArray

TARGETS = {
    "cache": "1.6 times less time at PSNR 30 dB",
    "guidance_interval": "1.3 times less time, the detail distance's interval contains 0",
    "compile": "a start from the cache of at most 1.5 times the uncompiled one",
}
CACHES: tuple[dict[str, Any], ...] = (
    *({"cache": f"first-block:{threshold}"} for threshold in (0.05, 0.1, 0.2)),
    *({"cache": f"taylorseer:{interval}"} for interval in (2, 3, 4)),
    {"cache": "mag"},
)
GUIDANCE: tuple[dict[str, Any], ...] = (
    {"guidance_interval": (0.2, 0.7)},
    {"guidance_interval": (0.0, 0.5)},
    {"guidance_interval": (0.2, 0.7), "cache": "taylorseer"},
    {"projected_guidance": True},
)
MEASURED = ("steps", "image", "psnr", "detail")
COMPILED_STEPS = 4


@dataclass(frozen=True)
class Made:
    """One image, and the CPU seconds of its steps and of decoding it."""

    pixels: NDArray[np.uint8]
    steps: float
    decoding: float

    @property
    def image(self) -> float:
        return self.steps + self.decoding


class Images:
    """Images of one model, size and number of steps, made directly."""

    def __init__(self, model: str, size: int, steps: int) -> None:
        from diffusion4k.sampling import Sampler

        self.sampler, self.size, self.steps = Sampler(model), size, steps
        self.sampler.load()

    def make(self, prompt: str, *, steps: int | None = None, **options: Any) -> Made:
        """An image of a prompt, seed 0."""
        from diffusion4k.sampling import Request

        asked = {"width": self.size, "height": self.size, "steps": steps or self.steps}
        settings = self.sampler.settle(Request(prompt, 0, stages=(), **asked, **options))
        self.sampler.encode_for([settings])
        start = time.process_time()
        latents = self.sampler.denoise(settings)
        denoised = time.process_time()
        factor = settings.factor
        strips = list(self.sampler.decode(latents, factor, self.size, self.size))
        decoded = time.process_time()
        return Made(np.concatenate(strips), denoised - start, decoded - denoised)


def psnr(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in decibels, at most 99."""
    error = np.square(found.astype(np.float64) - exact).mean()
    return min(99.0, float(10 * np.log10(255**2 / error))) if error else 99.0


def measured(
    images: Images,
    prompts: list[str],
    ways: tuple[dict[str, Any], ...],
    keep: Callable[[list[dict[str, Any]]], object],
    **shared: Any,
) -> list[dict[str, Any]]:
    """A row for the exact images and for each way; `shared` options are of all of them.

    `keep` is given the rows after each prompt: a run that is stopped has what was measured.
    """
    from diffusion4k.metrics.detail import detail_distance

    images.make(prompts[0], steps=1, **shared)
    rows: list[dict[str, Any]] = [
        {"options": way, **{name: [] for name in MEASURED}} for way in ({}, *ways)
    ]
    for number, prompt in enumerate(prompts):
        exact: NDArray[np.uint8] | None = None
        for row in rows:
            made = images.make(prompt, **shared, **row["options"])
            exact = made.pixels if exact is None else exact
            row["steps"].append(made.steps)
            row["image"].append(made.image)
            row["psnr"].append(psnr(made.pixels, exact))
            row["detail"].append(detail_distance(made.pixels))
            print(number, row["options"], f"{made.steps:.2f} s", flush=True)
        keep(rows)
    return summarised(rows)


def summarised(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with gains and differences to the first, the exact one."""
    from diffusion4k.statistics.bootstrap import bootstrap, mean_of

    for row in rows:
        for what in ("steps", "image"):
            gains = [e / r for e, r in zip(rows[0][what], row[what], strict=True)]
            row[f"{what}_gain"] = statistics.median(gains)
        differences = np.subtract(row["detail"], rows[0]["detail"])
        row["detail_difference"] = bootstrap(mean_of(differences), len(differences)).as_json()
        row["psnr_mean"] = statistics.mean(row["psnr"])
        print(
            f"{row['options']}: steps {row['steps_gain']:.2f}x, image {row['image_gain']:.2f}x, "
            f"PSNR {row['psnr_mean']:.1f} dB, detail distance {row['detail_difference']}",
            flush=True,
        )
    return rows


def merged(paths: list[Path]) -> dict[str, Any]:
    """The results of several runs: all parts, and of one part all prompts."""
    found: dict[str, Any] = {}
    for path in paths:
        content = json.loads(path.read_text())
        result = content["result"]
        found.setdefault("runs", []).append({**result, "machine": content["machine"]})
        for part in ("caches", "guidance"):
            more = result.pop(part, None)
            if part not in found and more:
                found[part] = more
            elif more:
                for row, other in zip(found[part], more, strict=True):
                    assert row["options"] == other["options"]
                    for name in MEASURED:
                        row[name] += other[name]
        if "compile" in result:
            found["compile"] = result.pop("compile")
    for run in found["runs"]:
        for part in ("caches", "guidance", "compile"):
            run.pop(part, None)
    for part in ("caches", "guidance"):
        if part in found:
            found[part] = summarised(found[part])
    return found


_PROCESS = """
import os, sys
def now():  # of the compiler's own processes, too
    return sum(os.times()[:4])
from diffusion4k.sampling import Request, Sampler
model, size, steps, compiled = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
sampler = Sampler(model, compile=compiled)
settings = sampler.settle(Request("a lake", width=size, height=size, steps=steps, stages=()))
sampler.denoise(settings)
first = now()
sampler.denoise(settings)
print(first, now() - first)
"""


def compiled_starts(model: str, size: int) -> dict[str, dict[str, float]]:
    """Start and second image of an uncompiled process, of a compiled one, and of one after it."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        # One worker: the compiler's others would be processes whose time is not counted.
        environment = {
            **os.environ,
            "TORCHINDUCTOR_CACHE_DIR": folder,
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        for name, compiled in (("uncompiled", 0), ("compiled", 1), ("from_cache", 1)):
            command = [model, str(size), str(COMPILED_STEPS), str(compiled)]
            wall = time.perf_counter()
            run = subprocess.run(
                [sys.executable, "-c", _PROCESS, *command],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            first, again = map(float, run.stdout.split()[-2:])
            wall = time.perf_counter() - wall
            found[name] = {"start": first, "again": again, "clock": wall}
            print(name, found[name], flush=True)
    found["ratios"] = {
        "start_from_cache": found["from_cache"]["start"] / found["uncompiled"]["start"],
        "gain": found["uncompiled"]["again"] / found["from_cache"]["again"],
    }
    return found


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The Markdown tables of docs/speed.md, by part."""
    found = {}
    for part in ("caches", "guidance"):
        lines = ["| | steps | image | PSNR | detail distance |", "|---|---|---|---|---|"]
        exact, *others = result[part]
        seconds_ = [statistics.median(exact[what]) for what in ("steps", "image")]
        detail = statistics.mean(exact["detail"])
        lines.append(f"| exact | {seconds_[0]:.1f} s | {seconds_[1]:.1f} s | | {detail:.2f} |")
        for row in others:
            change = row["detail_difference"]
            lines.append(
                f"| {_in_words(row['options'])} | {row['steps_gain']:.2f}x | "
                f"{row['image_gain']:.2f}x | {row['psnr_mean']:.1f} dB | {change['value']:+.2f} "
                f"({change['low']:+.2f} to {change['high']:+.2f}) |"
            )
        found[part] = "\n".join(lines)
    lines = ["| | start to first image | next image |", "|---|---|---|"]
    for name in ("uncompiled", "compiled", "from_cache"):
        row = result["compile"][name]
        words = {"compiled": "compiled, first run", "from_cache": "compiled, from the cache"}
        lines.append(f"| {words.get(name, name)} | {row['start']:.0f} s | {row['again']:.2f} s |")
    return found | {"compile": "\n".join(lines)}


def _in_words(options: dict[str, Any]) -> str:
    words = []
    for name, value in options.items():
        levels = value if isinstance(value, (list, tuple)) else []
        shown = ",".join(f"{level:g}" for level in levels) or value
        words.append(f"--{name.replace('_', '-')}" + ("" if value is True else f" {shown}"))
    return f"`{' '.join(words)}`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=["caches", "guidance", "compile", []])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--prompts", type=int, default=8, help="of the bundled captions")
    parser.add_argument("--first", type=int, default=0, help="of the prompts")
    parser.add_argument("--merge", nargs="+", type=Path, help="results of other runs")
    parser.add_argument("--guidance-scale", type=float, default=3.0)
    parser.add_argument("--out", default="sampling_speed")
    options = parser.parse_args()
    if options.merge:
        result = merged(options.merge)
        save(options.out, result)
        print(*tables(result).values(), sep="\n\n")
        return
    parts = options.parts or ["caches", "guidance", "compile"]
    result: dict[str, Any] = {**vars(options), "merge": None, "targets": TARGETS, "parts": parts}
    if "compile" in parts:
        result["compile"] = compiled_starts(options.model, options.size)
        save(options.out, result)
    if parts != ["compile"]:
        from diffusion4k.sampling import read_prompts

        prompts = read_prompts("pocket")[options.first : options.first + options.prompts]

        def keep_as(part: str) -> Callable[[list[dict[str, Any]]], object]:
            return lambda rows: save(options.out, {**result, part: rows})

        images = Images(options.model, options.size, options.steps)
        if "caches" in parts:
            result["caches"] = measured(images, prompts, CACHES, keep_as("caches"))
            save(options.out, result)
        if "guidance" in parts:
            scale = {"guidance": options.guidance_scale}
            keep = keep_as("guidance")
            result["guidance"] = measured(images, prompts, GUIDANCE, keep, **scale)
            save(options.out, result)


if __name__ == "__main__":
    main()
