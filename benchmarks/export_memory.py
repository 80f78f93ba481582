"""Peak memory of converting a transformer of FLUX.1's size between the two layouts.

    python benchmarks/export_memory.py              # 24 GB in bfloat16, needs 24 GB of disk
    python benchmarks/export_memory.py --blocks 2   # the same layers, two blocks of either kind

The file that is converted, by Black Forest Labs' names, has a true header and no contents: it is
sparse, and reads as zeros without taking room. It is converted to a folder in diffusers' layout;
then one by diffusers' names to a file in the original layout. Each conversion is a fresh process;
its peak is the operating system's figure for that process, libraries included.
"""

import argparse
import json
import shutil
import struct
import time
from math import prod
from pathlib import Path

import torch
from common import peak_memory, save
from diffusers import FluxTransformer2DModel

from diffusion4k.models.layout import original_layout
from diffusion4k.models.published import published_config

WAYS = {"to diffusers": ("original", "model"), "to one file": ("diffusers", "one.safetensors")}
"""The layout of the file that is converted, and where the result goes."""
CODE = (
    "import sys; from diffusion4k.interchange.export import export_part; "
    "export_part(sys.argv[1], sys.argv[2])"
)


def sparse_file(path: Path, layout: str, blocks: int | None) -> int:
    """Write the file; bytes of its tensors."""
    config = published_config("black-forest-labs/FLUX.1-dev", "transformer")["config"]
    if blocks:
        config = {**config, "num_layers": blocks, "num_single_layers": blocks}
    with torch.device("meta"):
        state = FluxTransformer2DModel(**config).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    if layout == "original" and (table := original_layout("flux")):
        shapes = {table.prefix + each.name: each.shape for each in table.fused(shapes)}
    record = json.dumps({"family": "flux", "config": config})
    header: dict[str, object] = {"__metadata__": {"diffusion4k": record}}
    end = 0
    for name, shape in shapes.items():
        size = 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return end


def main() -> None:
    """Convert, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, help="blocks of either kind; by default all")
    parser.add_argument("--way", choices=WAYS, help="by default both, one after the other")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/export"))
    options = parser.parse_args()
    folder: Path = options.folder
    result: dict[str, object] = {}
    for name in [options.way] if options.way else WAYS:
        layout, out = WAYS[name]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            size = sparse_file(folder / "sparse.safetensors", layout, options.blocks)
            start = time.perf_counter()
            peak, _ = peak_memory(["-c", CODE, folder / "sparse.safetensors", folder / out])
            seconds = time.perf_counter() - start
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        result[name] = {"gigabytes": size / 1e9, "peak_gib": peak, "seconds": round(seconds)}
        print(f"{name}: {size / 1e9:.1f} GB, peak {peak:.2f} GiB, {seconds:.0f} s", flush=True)
    save(f"export_memory_{options.blocks or 'all'}", result)


if __name__ == "__main__":
    main()
