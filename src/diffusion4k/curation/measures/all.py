"""All measures, by name."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion4k.curation.measures import (
    borders,
    compression,
    detail,
    exposure,
    flatness,
    noise,
    resolution,
    sharpness,
)
from diffusion4k.curation.measures.picture import Photograph
from diffusion4k.data.images import open_pixels, read_image
from diffusion4k.errors import UsageError

__all__ = ["MEASURES", "measure", "measure_file", "measure_header"]


def _noise(picture: Photograph) -> dict[str, float]:
    return {"noise": picture.noise}


_SUBJECTS: list[tuple[dict[str, str], Callable[[Photograph], dict[str, float]]]] = [
    (sharpness.MEASURES, sharpness.measure),
    (flatness.MEASURES, flatness.measure),
    (resolution.MEASURES, resolution.measure),
    (compression.MEASURES, compression.measure),
    (exposure.MEASURES, exposure.measure),
    (noise.MEASURES, _noise),  # the picture knows it, as other measures need it
    (borders.MEASURES, borders.measure),
    (detail.MEASURES, detail.measure),
]

MEASURES: dict[str, str] = {
    name: text for names, _ in _SUBJECTS for name, text in names.items()
} | compression.FILE_MEASURES
"""What each is, its unit and range, and which direction is better."""


def measure(pixels: NDArray[np.uint8], *, only: Collection[str] | None = None) -> dict[str, float]:
    """The measures of an RGB photograph `(H, W, 3)` by name, or `only` some of them.

    Those of the file (`measure_header`) are not among them. A value is NaN where the picture is too
    small for it (below 64, 240 or 256 pixels a side). One thread is used; threads may measure
    different photographs at once.

    Raises:
        Diffusion4kError: no uint8 `(H, W, 3)` array.
        UsageError: `only` names a measure that does not exist.
    """
    wanted = MEASURES.keys() if only is None else set(only)
    if unknown := sorted(wanted - MEASURES.keys()):
        known = ", ".join(MEASURES)
        raise UsageError(f"measure {unknown[0]}: no such measure; there are {known}")
    picture = Photograph(pixels)
    values: dict[str, float] = {}
    for names, function in _SUBJECTS:
        if not wanted.isdisjoint(names):
            values |= function(picture)
    return {name: value for name, value in values.items() if name in wanted}


def measure_header(source: str | Path | BinaryIO) -> dict[str, float]:
    """What the header of an image file says: `jpeg_quality`, NaN if it is no JPEG.

    Raises:
        Diffusion4kError: as `data.images.image_header` does.
    """

    def quality(image: Image.Image, _: BinaryIO) -> float:
        tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
        if image.format not in ("JPEG", "MPO") or not tables:
            return float("nan")
        return compression.jpeg_quality(tables[min(tables)])

    return {"jpeg_quality": read_image(source, quality)}


def measure_file(path: str | Path, *, only: Collection[str] | None = None) -> dict[str, float]:
    """Decode a photograph and measure it, its header included.

    Raises:
        Diffusion4kError: as `data.images.open_pixels` does.
        UsageError: as `measure` does.
    """
    values = measure(open_pixels(path), only=only)
    if only is None or "jpeg_quality" in only:
        values |= measure_header(path)
    return values
