"""Filling a cache with two processes against one, as training does before its first step.

    python benchmarks/cache_fill.py [--photos 16] [--resolution 1024] [--repeats 3]

Every process has one thread and a core of its own, as each has a GPU of its own elsewhere; all fill
an empty folder from the same photographs, in turn. One process that has both cores is shown beside
them. Photographs are squares of the bundled ones, as many for each process. Linux, two free cores.
"""

import argparse
import json
import os
import socket
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from common import save, seconds
from workers import Worker, serve

TARGET = 1.8


def photographs(folder: Path, count: int, side: int) -> None:
    """An image folder of so many square photographs."""
    from PIL import Image

    from diffusion4k.data.folder import photo_folder, scan_folder

    folder.mkdir()
    sources = [photo.path for photo in scan_folder(photo_folder("pocket")).photos]
    rows = []
    for number in range(count):
        name = f"{number:03}.jpg"
        with Image.open(sources[number % len(sources)]) as image:
            x, y = (((97 * number) % max(s - side, 1)) for s in image.size)
            image.convert("RGB").crop((x, y, x + side, y + side)).save(folder / name, quality=95)
        rows.append(json.dumps({"file_name": name, "text": f"photograph {number}"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")


def work(photos: Path, resolution: int) -> None:
    """In a worker: fill the cache that a line names."""
    from diffusion4k.families import family_of, resolve
    from diffusion4k.training.engine.engine import Engine
    from diffusion4k.training.pictures import complete_cache
    from diffusion4k.training.recipe.recipe import Recipe

    engine, model = Engine(), resolve("pocket")
    family = family_of(model)

    def fill(cache: str) -> int:
        wanted = Recipe.model_validate(
            {
                "model": "pocket",
                "data": str(photos),
                "cache": cache,
                "output": f"{cache}-run",
                "resolution": resolution,
                "steps": 1,
            }
        )
        return len(complete_cache(wanted, family, model, engine, skip_bad=False))

    serve(fill)


def team(stack: ExitStack, arguments: list[str], processes: int, threads: int) -> list[Worker]:
    """Workers that fill a cache together, ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = sorted(os.sched_getaffinity(0))
    common = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": str(threads)}
    workers = []
    for rank in range(processes):
        environment = dict(common)
        if processes > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            environment |= {"WORLD_SIZE": str(processes), "RANK": str(rank)}
            environment |= {"LOCAL_RANK": str(rank)}
        cores = {here[rank % len(here)]} if threads == 1 else set(here)
        workers.append(stack.enter_context(Worker([__file__, *arguments], environment, cores)))
    for worker in workers:
        assert worker.answer() == "ready"
    return workers


def main() -> None:
    """Fill with each in turn, print the ratio and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=16, help="an even number")
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.resolution)
        return
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place) / "photographs"
        photographs(folder, options.photos, options.resolution)
        arguments = ["--work", str(folder), "--resolution", str(options.resolution)]
        teams = {
            "one": team(stack, arguments, 1, 1),
            "two": team(stack, arguments, 2, 1),
            "one_with_two_cores": team(stack, arguments, 1, 2),
        }

        def fill(name: str, repeat: int) -> None:
            for worker in teams[name]:
                worker.ask(str(Path(place) / f"{name}-{repeat}"))
            for worker in teams[name]:
                assert worker.answer() == str(options.photos)

        for name in teams:
            fill(name, -1)  # Libraries import the rest with the first.
        found: dict[str, list[float]] = {name: [] for name in teams}
        for repeat in range(options.repeats):
            for name, times in found.items():
                times.append(seconds(lambda name=name, repeat=repeat: fill(name, repeat)))  # type: ignore[misc]
    ratio = statistics.median(o / t for o, t in zip(found["one"], found["two"], strict=True))
    for name, times in found.items():
        print(f"{name}: {statistics.median(times):.2f} s for {options.photos} photographs")
    print(f"two processes fill it {ratio:.2f}x as fast as one; target at least {TARGET}")
    kept = {"photographs": options.photos, "resolution": options.resolution, "seconds": found}
    save("cache_fill", kept | {"ratio": round(ratio, 3)})


if __name__ == "__main__":
    main()
