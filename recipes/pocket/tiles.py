"""Cuts the training pictures into tiles, which decode faster than whole photographs.

    python recipes/pocket/tiles.py --data runs/pocket/dataset --out runs/pocket/tiles

Tiles of 256x256 pixels at random places, of pictures at shorter sides `--sides`, none of which is
held out; what holds more detail is cut more often. The result is an image folder for
`diffusion4k vae train`. A folder that holds as many tiles already stays as it is.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from pictures import PictureCrops
from PIL import Image

from diffusion4k.support.files import write_text

SIDE = 256


def cut(data: Path, out: Path, count: int, sides: list[int]) -> None:
    metadata = out / "metadata.jsonl"  # written last: a folder without it is not complete
    if metadata.exists() and len(metadata.read_text().splitlines()) == count:
        print(f"{count} tiles are in {out} already")
        return
    metadata.unlink(missing_ok=True)
    crops = PictureCrops(data, tuple(sides), held_out=False)
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        tile = crops.batch(1, SIDE, np.random.default_rng([5, index]))[0]
        pixels = ((tile + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        name = f"{index:05}.png"
        Image.fromarray(pixels).save(out / name, compress_level=1)
        lines.append(json.dumps({"file_name": name, "text": "a tile of a photograph"}))
    write_text(metadata, "\n".join(lines) + "\n")
    print(f"{count} tiles in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/pocket/dataset"))
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/tiles"))
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--sides", type=int, nargs="+", default=[768, 1536])
    arguments = parser.parse_args()
    cut(arguments.data, arguments.out, arguments.count, arguments.sides)
