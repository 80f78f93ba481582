"""Our training loop against a bare one of forward, backward, clipping and AdamW on one batch.

Both in turn, several times, each in a fresh process; of each the median step counts. The ratio is
the median over the pairs, as processes differ among themselves by more than what is looked for.
Ours is `train` with all it does in a step: reading the crops, noise, curves, TensorBoard, loss by
band, throughput, guard.

    python benchmarks/training_overhead.py [--crop 1024] [--steps 20] [--repeats 9]
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import save

TARGET = 1.03


def recipe(cache: Path, output: Path, crop: int, steps: int) -> Any:
    from diffusion4k.training.recipe.recipe import Recipe

    return Recipe.model_validate(
        {
            "model": "pocket",
            "data": "pocket",
            "cache": cache,
            "output": output,
            "resolution": crop,
            "steps": steps,
            "gradient_checkpointing": False,
            "validation": {"every": None},
            "checkpoint": {"every": 1000},
        }
    )


def ours(cache: Path, output: Path, crop: int, steps: int) -> list[float]:
    """Seconds of each step."""
    from diffusion4k.support.progress import Counter
    from diffusion4k.training.loop import train

    times = [time.perf_counter()]
    advance = Counter.advance
    Counter.advance = lambda *a: (times.append(time.perf_counter()), advance(*a))[1]  # type: ignore
    train(recipe(cache, output, crop, steps))
    # What comes before, as reading the pictures' headers, is counted too.
    return [b - a for a, b in itertools.pairwise(times[-steps:])]


def bare(cache: Path, output: Path, crop: int, steps: int) -> list[float]:
    """The same of a loop with nothing around it."""
    import torch

    from diffusion4k.data.reader import LatentCache
    from diffusion4k.families import family_of, resolve
    from diffusion4k.training.engine.randomness import draw_noise
    from diffusion4k.training.pictures import training_batches
    from diffusion4k.training.recipe.build import build_objective, build_timesteps
    from diffusion4k.training.step import denoising_loss

    wanted = recipe(cache, output, crop, steps)
    model = resolve("pocket")
    family = family_of(model)
    batch = training_batches(wanted, LatentCache(cache)).batch(0)
    timesteps = build_timesteps(wanted, family, model)
    noise, sigma = draw_noise(0, batch["places"], batch["latents"].shape[1:], timesteps)
    network = family.load_transformer(model, dtype=torch.float32).requires_grad_(True).train()
    objective = build_objective(wanted)
    options = wanted.optimizer.model_dump(exclude={"name", "learning_rate"})
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6, **options)
    times = [time.perf_counter()]
    for _ in range(steps):
        loss = denoising_loss(
            family,
            network,
            objective,
            latents=batch["latents"],
            conditioning=batch["conditioning"],
            noise=noise,
            sigma=sigma,
        ).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
    return [b - a for a, b in itertools.pairwise(times)]


SIDES = {"ours": ours, "bare": bare}


def main() -> None:
    """Run both in turn, print the ratio and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crop", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--side", choices=SIDES, help="one of the two alone")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    if options.side:
        with tempfile.TemporaryDirectory() as output:
            run = SIDES[options.side]
            times = run(options.cache, Path(output) / "run", options.crop, options.steps)
        # The first steps find their memory.
        print(json.dumps(statistics.median(times[3:])))
        return
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as cache:
        ours(Path(cache), Path(cache) / "run", options.crop, 1)
        for _ in range(options.repeats):
            for side in SIDES:
                command = [sys.executable, __file__, "--side", side, "--cache", cache]
                command += ["--crop", str(options.crop), "--steps", str(options.steps)]
                run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[side].append(float(run.stdout.splitlines()[-1]))
    ratio = statistics.median(o / b for o, b in zip(found["ours"], found["bare"], strict=True))
    ours_s, bare_s = (statistics.median(found[side]) for side in ("ours", "bare"))
    print(f"a step: ours {ours_s:.3f} s, bare {bare_s:.3f} s: {ratio:.3f}x")
    print(f"target at most {TARGET}")
    kept = {"crop": options.crop, "steps": options.steps, "seconds": found}
    save("training_overhead", kept | {"ratio": round(ratio, 4)})


if __name__ == "__main__":
    main()
