"""Decoding and measuring photographs of 4096x4096: photographs a second, and memory.

    python benchmarks/curation_speed.py                           # against a plain loop
    python benchmarks/curation_speed.py --memory 500 5000 --side 1024

Each photograph is a mosaic of the bundled ones at 100%, another for each file, as a JPEG of quality
92. Ours runs on one thread per core; the plain loop (Pillow, `curation_reference.py`) on one core,
as it is written. The ratio on one core each is given too. With `--memory`, fresh processes
measure so many files and their peaks are compared.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import common
import curation_reference
import numpy as np
from PIL import Image

import diffusion4k
from diffusion4k.curation.measures import measure_file

SIDE = 4096


def make_files(folder: Path, count: int, side: int) -> list[Path]:
    """Mosaics of the bundled photographs."""
    bundled = Path(diffusion4k.__file__).parent / "pocket" / "photographs"
    tiles = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(bundled.glob("*.jpg"))]
    height, width = (min(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        picture = np.empty((side, side, 3), np.uint8)
        for y in range(0, side, height):
            for x in range(0, side, width):
                tile = tiles[rng.integers(len(tiles))][:height, :width]
                part = picture[y : y + height, x : x + width]
                part[:] = tile[: part.shape[0], : part.shape[1]]
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(picture).save(paths[-1], quality=92)
    return paths


def ours(paths: list[Path], threads: int) -> list[dict[str, float]]:
    """All values of all files."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(measure_file, paths))


def plain(path: Path) -> dict[str, float]:
    """The same values by the plain loop."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    quality = {"jpeg_quality": curation_reference.jpeg_quality(str(path))}
    return curation_reference.measure(pixels) | quality


def measure_many(folder: Path, count: int) -> None:
    """Measure `count` files, no more than two in memory at once."""
    files = sorted(folder.glob("*.jpg"))

    def names() -> Iterator[Path]:
        for number in range(count):
            yield files[number % len(files)]

    remaining = names()
    with ThreadPoolExecutor(2) as pool:
        while batch := list(islice(remaining, 16)):
            list(pool.map(measure_file, batch))


def memory(counts: list[int], side: int) -> dict[str, float]:
    """Peak GiB of a process by how many files it measures."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), 16, side)
        peaks = {}
        for count in counts:
            arguments = [__file__, "--many", str(count), "--folder", folder]
            peaks[str(count)] = round(common.peak_memory(arguments)[0], 4)
            print(f"{count} files of {side}x{side}: peak {peaks[str(count)]:.3f} GiB", flush=True)
    return peaks


def speed(count: int, repeats: int, side: int) -> dict[str, object]:
    """Ours and the plain loop, in turn."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), count, side)
        values, reference = measure_file(files[0]), plain(files[0])
        difference = max(abs(values[k] - reference[k]) / max(1, abs(reference[k])) for k in values)
        together, alone, loop, busy = [], [], [], []
        for _ in range(repeats):
            start = os.times()
            together.append(common.seconds(lambda: ours(files, cores)) / count)
            end = os.times()
            busy.append((end.user + end.system - start.user - start.system) / count)
            alone.append(common.seconds(lambda: ours(files[:2], 1)) / 2)
            loop.append(common.seconds(lambda: plain(files[0])))
    result = {
        "side": side,
        "files": count,
        "largest_relative_difference": difference,
        "seconds_a_photograph": {"all cores": together, "one core": alone, "plain loop": loop},
        "core_seconds_a_photograph": round(statistics.median(busy), 3),
        "photographs_a_second": round(1 / statistics.median(together), 2),
        "ratio": round(statistics.median(loop) / statistics.median(together), 1),
        "ratio_on_one_core": round(statistics.median(loop) / statistics.median(alone), 1),
    }
    print(
        f"{side}x{side}: {result['photographs_a_second']} photographs/s on {cores} cores "
        f"({result['core_seconds_a_photograph']} core-seconds each), plain loop "
        f"{statistics.median(loop):.1f} s each: {result['ratio']}x, {result['ratio_on_one_core']}x "
        f"on one core; values differ by {difference:.1e}"
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="+", metavar="FILES")
    parser.add_argument("--many", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.many:
        measure_many(options.folder, options.many)
    elif options.memory:
        peaks = memory(options.memory, options.side)
        first, *_, last = peaks.values()
        print(f"growth {last / first - 1:+.1%}")
        result = {"side": options.side, "peak_gib": peaks, "growth": round(last / first - 1, 4)}
        common.save("curation_memory", result)
    else:
        common.save("curation_speed", speed(options.files, options.repeats, options.side))


if __name__ == "__main__":
    sys.exit(main())
