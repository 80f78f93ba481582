"""The image road of uncached training: photographs a second from JPEG to the autoencoder's input.

    python benchmarks/uncached.py                        # 4096x4096, stored at 1024, 2048, 4096
    python benchmarks/uncached.py --size 2048 --stored 1024

Ours is what `uncached: true` does before the autoencoder; the reference is what training scripts
do: Pillow opens, converts, resizes (Lanczos), NumPy and torch make a tensor. Both in four threads,
in turn. The pictures are put together from the bundled photographs without enlarging any.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import compare, save

THREADS = 4
PICTURES = 8


def mosaics(size: int, folder: Path) -> list[Path]:
    """Photographs of `size` squared pixels, each of four quarters of bundled ones."""
    from PIL import Image

    from diffusion4k.data.folder import photo_folder

    half = size // 2
    sources = [Image.open(path) for path in sorted(photo_folder("pocket").glob("*.jpg"))]
    quarters = [s.convert("RGB").crop((0, 0, half, half)) for s in sources if min(s.size) >= half]
    paths = []
    for number in range(PICTURES):
        picture = Image.new("RGB", (size, size))
        for place in range(4):
            quarter = quarters[(number + place) % len(quarters)]
            picture.paste(quarter, (place % 2 * half, place // 2 * half))
        paths.append(folder / f"{number}.jpg")
        picture.save(paths[-1], quality=95)
    return paths


def ours(path: Path, stored: int) -> Any:
    """As `UncachedLatents` decodes."""
    from diffusion4k.data.uncached import decoded

    return decoded(path, (stored, stored))


def plain(path: Path, stored: int) -> Any:
    """As a training script decodes."""
    import numpy as np
    import torch
    from PIL import Image

    picture = Image.open(path).convert("RGB").resize((stored, stored), Image.Resampling.LANCZOS)
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    return tensor.contiguous() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--stored", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    result: dict[str, Any] = {"size": options.size, "threads": THREADS, "stored": {}}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(THREADS) as pool:
        paths = mosaics(options.size, Path(folder))
        for stored in options.stored:

            def run(road: Any, stored: int = stored) -> None:
                # Each is let go as it comes: a picture of 4096 pixels is 200 MB as a tensor.
                for _ in pool.map(lambda path: road(path, stored) is None, paths):
                    pass

            timed = compare(lambda: run(ours), lambda: run(plain), repeats=options.repeats)
            rate = PICTURES / timed.ours_median
            print(f"{options.size} -> {stored}: {rate:.2f} photographs/s; {timed}")
            result["stored"][stored] = {"photographs_per_second": rate, **vars(timed)}
    save("uncached", result)


if __name__ == "__main__":
    main()
