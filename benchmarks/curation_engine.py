"""Dataset build: peak memory at two numbers of files, and photographs a second.

    python benchmarks/curation_engine.py                        # 500 and 5,000 files
    python benchmarks/curation_engine.py --files 50 200 --side 1024

Every file is a picture of its own (JPEG, quality 95). Each build runs in a fresh process; memory is
that process's peak, the machine's file cache not counted. The first build decodes and measures all;
the second, of the same recipe, finds all measured.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import peak_memory, save
from PIL import Image


def make_photographs(folder: Path, count: int, side: int) -> None:
    """Noise of several scales, so that no two are near-duplicates and files are large."""
    folder.mkdir(parents=True)
    for number in range(count):
        random = np.random.default_rng(number)
        image = np.zeros((side, side, 3), np.float32)
        for scale, weight in ((8, 60), (64, 30), (side, 4)):
            part = random.normal(0, weight, (scale, scale, 3)).astype(np.float32)
            for channel in range(3):
                plane = Image.fromarray(part[..., channel])
                image[..., channel] += np.asarray(plane.resize((side, side)))
        pixels = (image + 128).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}.jpg", quality=95)


def build(photographs: Path, output: Path) -> None:
    """One build in this process; prints its seconds and how many were kept."""
    from diffusion4k.curation.build import build_dataset
    from diffusion4k.curation.recipe import DatasetRecipe

    thresholds = {
        name: {field: None for field in type(section).model_fields if field[:4] in ("min_", "max_")}
        for name, section in DatasetRecipe.model_fields["thresholds"].default
    }
    recipe = DatasetRecipe.model_validate(
        {
            "output": output,
            "sources": [{"path": str(photographs)}],
            "header": {"min_shorter_side": 64},
            "thresholds": thresholds,
        }
    )
    start = time.perf_counter()
    summary = build_dataset(recipe)
    print(json.dumps({"seconds": time.perf_counter() - start, "kept": summary.kept}))


def measure(photographs: Path, output: Path) -> dict[str, float]:
    """Peak memory and throughput of a build, and of the same build once more."""
    result = {}
    for name in ("first", "again"):
        arguments = [__file__, "--build", str(photographs), str(output)]
        peak, printed = peak_memory(arguments)
        found = json.loads(printed.splitlines()[-1])
        result |= {f"{name}_peak_gib": round(peak, 3), f"{name}_s": round(found["seconds"], 1)}
    count = found["kept"]
    return result | {"kept": count, "photographs_per_s": round(count / result["first_s"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, nargs=2, default=[500, 5000])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--build", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(*options.build)
        return
    results = {}
    for count in options.files:
        folder = Path(tempfile.mkdtemp(prefix="curation-engine-"))
        try:
            make_photographs(folder / "photographs", count, options.side)
            results[count] = measure(folder / "photographs", folder / "out")
        finally:
            shutil.rmtree(folder)
        print(f"{count} files of {options.side} pixels: {results[count]}", file=sys.stderr)
    few, many = (results[count]["first_peak_gib"] for count in options.files)
    growth = many / few - 1
    print(
        f"peak memory {few} GiB at {options.files[0]}, {many} at {options.files[1]}: {growth:+.1%}"
    )
    result = {str(count): values for count, values in results.items()}
    save("curation_engine", {"side": options.side, "files": result, "growth": round(growth, 3)})


if __name__ == "__main__":
    main()
