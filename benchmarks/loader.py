"""The loader: samples a second beside what training takes, and its cost as the index grows.

    python benchmarks/loader.py                     # pocket model, crops of 1024 pixels
    python benchmarks/loader.py --entries 1000 1000000

The indices are synthetic: as many photographs as asked for, whose latents are those of the bundled
ones. Startup and memory are those of fresh processes, from opening the cache to the first batch.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from common import save

RESIDENT = "VmRSS"


def synthetic(cache: Path, entries: int, folder: Path) -> Path:
    """A cache of `entries` photographs on the shards of another."""
    from diffusion4k.data.index import Index, SampleKeys, write_index
    from diffusion4k.data.shards import Shards

    shards, index = Shards(cache / "shards"), Index(cache)
    by_place = {
        (place.shard, place.offset): key
        for key in shards._entries
        for place in shards.locate(key).values()
    }

    def key(place: Any) -> str:
        return by_place[place.shard, place.offset]

    known = [
        (key(next(iter(index.conditioning(n).values()))), key(index.latents(n)))
        for n in range(len(index))
    ]
    empty = key(next(iter(index.conditioning(None).values())))
    samples = [
        SampleKeys(f"photographs/{number:09}.jpg", *known[number % len(known)], None)
        for number in range(entries)
    ]
    folder.mkdir()
    (folder / "shards").symlink_to(cache / "shards")
    write_index(folder, shards, samples, empty=empty, settings=index.settings | {"flip": False})
    return folder


def measure(cache: Path, crop: int, seconds: float) -> dict[str, float]:
    """Startup and cost of a sample, in this process."""
    from diffusion4k.data.loader import LatentBatches
    from diffusion4k.data.reader import LatentCache

    before, start = _resident(), time.perf_counter()
    batches = LatentBatches(LatentCache(cache), batch_size=1, crop=crop, seed=0)
    batches.batch(0)
    startup, memory = time.perf_counter() - start, _resident() - before
    for number in range(50):
        batches.batch(number)
    start = time.perf_counter()
    for number in count(50):
        batches.batch(number)
        if (passed := time.perf_counter() - start) > seconds:
            break
    return {
        "startup_s": round(startup, 3),
        "memory_mib": round(memory / 2**20, 1),
        "microseconds_a_sample": round(1e6 * passed / (number - 49), 1),
    }


def training_rate(cache: Path, crop: int, folder: Path) -> float:
    """Samples a second of training steps, from the same cache."""
    from diffusion4k.training.loop import train
    from diffusion4k.training.recipe.recipe import Recipe
    from diffusion4k.training.watch.curve import Curve

    times = []
    add = Curve.add
    Curve.add = lambda *a: (times.append(time.perf_counter()), add(*a))[1]  # type: ignore
    steps = 8
    recipe = {"model": "pocket", "cache": cache, "output": folder, "resolution": crop}
    recipe |= {"steps": steps, "flip": False, "validation": {"every": None}}
    train(Recipe.model_validate(recipe))
    Curve.add = add  # type: ignore[method-assign]
    return (steps - 2) / (times[-1] - times[1])


def _resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(RESIDENT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--entries", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--crop", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cache", type=Path, help="measure this one alone, and nothing else")
    options = parser.parse_args()
    if options.cache:
        print(json.dumps(measure(options.cache, options.crop, options.seconds)))
        return
    from diffusion4k.data.cache import build_cache
    from diffusion4k.data.folder import photo_folder, read_folder
    from diffusion4k.families import family_of, resolve

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = resolve("pocket")
        build_cache(
            read_folder(photo_folder("pocket")),
            model=model,
            family=family_of(model),
            cache=folder / "cache",
            resolution=options.crop,
        )
        results: dict[str, Any] = {}
        for entries in options.entries:
            cache = synthetic(folder / "cache", entries, folder / str(entries))
            command = [sys.executable, __file__, "--cache", str(cache)]
            command += ["--crop", str(options.crop), "--seconds", str(options.seconds)]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[str(entries)] = json.loads(run.stdout)
            print(f"{entries} entries: {results[str(entries)]}", flush=True)
        trained = training_rate(folder / "cache", options.crop, folder / "run")
    loaded = 1e6 / results[str(options.entries[0])]["microseconds_a_sample"]
    print(f"loader {loaded:.0f} samples/s, training {trained:.2f}: {loaded / trained:.0f}x")
    save(
        "loader",
        {
            "crop": options.crop,
            "by_entries": results,
            "training_samples_per_second": round(trained, 3),
            "loader_over_training": round(loaded / trained, 1),
        },
    )


if __name__ == "__main__":
    main()
