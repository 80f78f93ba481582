"""All weight-free metrics of 4096x4096 JPEGs: one picture, a folder on two cores, and memory.

    python benchmarks/metrics_speed.py

The pictures are crops of bundled photographs enlarged to cover 4096x4096, saved at quality 95.

- *One picture*: decode and all measures, kept to disk, ours against a plain route in turn: Pillow,
  scikit-image patch by patch, PyWavelets, NumPy's Fourier transform of the tiles, and the same
  network on the same patches one after another. The detail distance has no such route and is ours
  alone.
- *Folder*: 16 pictures with one worker and with two, in turn.
- *Memory*: the peaks of a process that measures 4 and of one that measures 16 pictures, and what
  each of the twelve further pictures has added.
"""

import sys
import tempfile
from pathlib import Path

import common
import numpy as np
import pywt
from PIL import Image, ImageOps
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import shannon_entropy

from diffusion4k.data.folder import photo_folder
from diffusion4k.metrics.features import EfficientNetLite0
from diffusion4k.metrics.glcm import PROPERTIES
from diffusion4k.metrics.images import patch_boxes
from diffusion4k.metrics.measuring import measure_all
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.metrics.registry import make_measures
from diffusion4k.metrics.store import MeasureStore

SIDE = 4096
ANGLES = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]


def make_pictures(folder: Path, count: int) -> list[Path]:
    """`count` different JPEGs of 4096x4096."""
    photographs = [p for p in sorted(photo_folder("pocket").glob("*.jpg")) if p.stem != "gradient"]
    paths = []
    for n in range(count):
        path = folder / f"{n:02}.jpg"
        with Image.open(photographs[n % len(photographs)]) as image:
            square = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
        # Pictures after the first round are turned, so that none is another's copy.
        square.rotate(90 * (n // len(photographs))).save(path, quality=95)
        paths.append(path)
    return paths


def measure(paths: list[Path], workers: int | None = None) -> None:
    """All weight-free measures of the pictures, with a store that knows none of them."""
    with tempfile.TemporaryDirectory() as kept:
        found = measure_all(
            map(MeasuredImage, paths), MEASURES, MeasureStore(kept), workers=workers
        )
        assert not [each for each in found if each.problem]


def plain_route(path: Path, extractor: EfficientNetLite0) -> dict[str, object]:
    """What a script of well-known parts does."""
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB"))
    picture = Image.fromarray(rgb)
    grey = np.asarray(picture.convert("L"))
    glcm = []
    for y in range(0, SIDE, 64):
        for x in range(0, SIDE, 64):
            patch = grey[y : y + 64, x : x + 64] // 4
            matrices = graycomatrix(patch, [1, 2, 3, 4], ANGLES, levels=64, normed=True)
            names = ("ASM" if name == "asm" else name for name in (*PROPERTIES, "entropy"))
            properties = [graycoprops(matrices, name).mean() for name in names]
            glcm.append([shannon_entropy(matrices), *properties])
    bands = pywt.wavedec2(grey.astype(float), "haar", level=5, mode="periodization")
    energies = [np.square(band).mean() for level in bands[1:] for band in level]
    line = np.sin(np.pi * (np.arange(128) + 0.5) / 128) ** 2
    tiles = grey.reshape(SIDE // 128, 128, SIDE // 128, 128).swapaxes(1, 2).astype(float)
    tiles -= tiles.mean((2, 3), keepdims=True)
    power = (np.abs(np.fft.fft2(tiles * np.outer(line, line))) ** 2).mean((0, 1))
    boxes = patch_boxes(SIDE, SIDE, 224, 64)
    patches = [extractor([picture.crop(box)]) for box in boxes]
    return {
        "glcm": np.mean(glcm, axis=0),
        "ratio": rgb.size / path.stat().st_size,
        "bands": energies,
        "spectrum": power,
        "features": [extractor([picture]), *patches],
    }


def speed(folder: Path) -> dict[str, object]:
    """One picture against the plain route, and a folder with one worker against two."""
    paths = make_pictures(folder, 16)
    extractor = EfficientNetLite0(batch_size=1)
    one = common.compare(
        lambda: measure(paths[:1]), lambda: plain_route(paths[0], extractor), repeats=2
    )
    print(f"one picture: {one}")
    many = common.compare(
        lambda: measure(paths, workers=2), lambda: measure(paths, workers=1), repeats=3, warmup=0
    )
    print(f"16 pictures with 2 workers against 1: {many}")
    return {"one_picture": one, "two_workers_against_one": many}


def memory(folder: Path) -> dict[str, object]:
    """Peak GiB of processes that measure 4 and 16 pictures."""
    make_pictures(folder, 16)
    peaks = {n: common.peak_memory([__file__, "--measure", folder, str(n)])[0] for n in (4, 16)}
    per_picture = (peaks[16] - peaks[4]) / 12 * 1024
    print(", ".join(f"{n} pictures: peak {gib:.2f} GiB" for n, gib in peaks.items()))
    return {"peak_gib_by_pictures": peaks, "mib_per_further_picture": per_picture}


def main() -> None:
    """Run all three and keep the result."""
    if sys.argv[1:2] == ["--measure"]:
        measure(sorted(Path(sys.argv[2]).iterdir())[: int(sys.argv[3])])
        return
    with tempfile.TemporaryDirectory() as folder:
        result = speed(Path(folder)) | memory(Path(folder))
    common.save("metrics_speed", {"side": SIDE, **result})


if __name__ == "__main__":
    MEASURES, _ = make_measures(wanted=lambda kind: not kind.section and not kind.needs_original)
    main()
