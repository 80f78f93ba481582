"""The tiles of an image as files, from one decoding, and what is measured on the way.

    ID/LEVEL/COLUMN_ROW.webp    the image's very pixels, without loss (or .jpg for small files)
    ID/LEVEL/COLUMN_ROW.jpg     the levels below, quality 92 without chroma subsampling
    ID/about.json               `About`

Levels are those of the Deep Zoom scheme (`web.deepzoom.Pyramid`) from 256 pixels on. ID follows
from the content of the image file, so that what is there need not be made again. Lossless WebP
takes a third of the time of PNG and less space; every browser of today reads it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion4k.metrics.compression import is_quality_95, jpeg_bytes
from diffusion4k.metrics.glcm import PATCH, glcm_map
from diffusion4k.support.files import sha256_of
from diffusion4k.support.text_files import json_of
from diffusion4k.web.deepzoom import TILE, Pyramid

__all__ = ["COARSEST", "About", "PyramidWriter", "identity", "read_about"]

COARSEST = 8
"""Lowest level that is made: 256 pixels; all below would save nothing."""

_VERSION = 1
_QUALITY = 92
_QUALITY_OF_SMALL_TOP = 95


@dataclass(frozen=True)
class About:
    """What the page says of an image."""

    width: int
    height: int
    glcm_score: float | None
    """None for images smaller than one patch."""
    compression_ratio: float
    """Ratio of the file itself if it is a JPEG of quality 95, else of one made from it."""


def identity(path: Path, *, small: bool) -> str:
    """The name of an image's tiles: changes with the file's content and how tiles are made."""
    facts = f"{_VERSION} {small} {sha256_of(path)}"
    return hashlib.sha256(facts.encode()).hexdigest()[:20]


def read_about(folder: Path) -> About | None:
    """What is known of tiles that are there, or None."""
    try:
        return About(**json_of((folder / "about.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class PyramidWriter:
    """Makes tiles with all cores; use as a context manager."""

    def __init__(self, workers: int, *, small: bool = False) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self._small = small

    def __enter__(self) -> "PyramidWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, path: Path, pixels: NDArray[np.uint8], folder: Path) -> About:
        """Write the tiles of the image at `path`, `(H, W, 3)`, into `folder`, wholly or not."""
        image = Image.fromarray(pixels)
        sizes = Pyramid(*image.size)
        with _whole_folder(folder) as part:
            jobs = []
            level_image = image
            for level in range(sizes.top, min(COARSEST, sizes.top) - 1, -1):
                (part / str(level)).mkdir()
                for name, box in _places(sizes, level):
                    tile_path = part / str(level) / f"{name}{self._suffix(level == sizes.top)}"
                    crop = level_image.crop(box)
                    jobs.append(self._pool.submit(_save, crop, tile_path, top=level == sizes.top))
                level_image = level_image.reduce(2)
            about = _measured(path, image, pixels)
            for job in jobs:
                job.result()
            (part / "about.json").write_text(json.dumps(asdict(about)) + "\n")
        return about

    def _suffix(self, top: bool) -> str:
        return ".webp" if top and not self._small else ".jpg"


def _places(sizes: Pyramid, level: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    width, height = sizes.size(level)
    for row in range(-(-height // TILE)):
        for column in range(-(-width // TILE)):
            yield f"{column}_{row}", sizes.box(level, column, row)


def _save(tile: Image.Image, path: Path, *, top: bool) -> None:
    with path.open("wb") as file:
        if path.suffix == ".webp":
            # The least effort: more takes ten times as long for some percent.
            tile.save(file, "WEBP", lossless=True, quality=0, method=0)
        else:
            quality = _QUALITY_OF_SMALL_TOP if top else _QUALITY
            tile.save(file, "JPEG", quality=quality, subsampling=0)
        file.flush()
        os.fsync(file.fileno())


def _measured(path: Path, image: Image.Image, pixels: NDArray[np.uint8]) -> About:
    score = float(glcm_map(pixels).score.mean()) if min(image.size) >= PATCH else None
    weight = path.stat().st_size if is_quality_95(path) else len(jpeg_bytes(image))
    return About(*image.size, score, image.width * image.height * 3 / weight)


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
