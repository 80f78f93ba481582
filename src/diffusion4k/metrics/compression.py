"""Compression Ratio: how many times smaller than raw RGB a JPEG of quality 95 is.

    Compression Ratio = (sum over images of H * W * 3 bytes) / (sum of JPEG file sizes)

A ratio of sums, so that large images weigh more; lower means more detail. JPEG files are measured
as they lie on disk, by header and file size alone, and that is comparable only if they were written
at quality 95 with the default 4:2:0 subsampling: `is_quality_95` tells. With `reencode=True` images
of any format are decoded and encoded in memory with these settings, free of metadata.

Source: Diffusion-4K (arXiv 2503.18352), section 3.2.
"""

import io
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.errors import UsageError
from diffusion4k.metrics.images import ImageLike, as_pil
from diffusion4k.metrics.measure import Column, Found, Measure, MeasureSetup, Ratio
from diffusion4k.metrics.picture import MeasuredImage
from diffusion4k.support.wording import counted

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "MARK",
    "QUALITY",
    "JpegSize",
    "compression_ratio",
    "is_quality_95",
    "jpeg_bytes",
    "raw_and_jpeg_bytes",
    "why_marked",
]

QUALITY = 95
MARK = "*"
"""Behind a Compression Ratio with files in it that are JPEGs of another quality."""

_SUBSAMPLING_420 = 2


def compression_ratio(paths: Iterable[str | Path], *, reencode: bool = False) -> float:
    """Raw RGB bytes of the images over the bytes of their JPEG files.

    Without `reencode` all files must be JPEG and only header and size are read; with it each
    image is decoded and encoded at quality 95 in memory. Raises `UsageError` for an empty list or
    a file that is no JPEG, `Diffusion4kError` for one that cannot be read.
    """
    sizes = [raw_and_jpeg_bytes(path, reencode=reencode) for path in paths]
    if not sizes:
        raise UsageError("the Compression Ratio needs at least one image, got none")
    return sum(raw for raw, _ in sizes) / sum(jpeg for _, jpeg in sizes)


def why_marked(files: int, remedy: str) -> str:
    """What `MARK` says, and the option by which all ratios compare."""
    return (
        f"{MARK} {counted(files, 'JPEG file')} not written at quality {QUALITY} with 4:2:0: such a "
        f"Compression Ratio is not comparable; {remedy} makes it so"
    )


def raw_and_jpeg_bytes(path: str | Path, *, reencode: bool = False) -> tuple[int, int]:
    """`(H * W * 3, JPEG bytes)` of one image; arguments and errors as of `compression_ratio`."""
    path = Path(path)
    if reencode:
        image = as_pil(path)
        return image.width * image.height * 3, len(jpeg_bytes(image))
    image_format, (width, height), _ = _header(path)
    if image_format != "JPEG":
        raise UsageError(
            f"{path}: a {image_format} file has no JPEG size; pass reencode=True to encode it "
            f"at quality {QUALITY} in memory"
        )
    return width * height * 3, path.stat().st_size


def jpeg_bytes(image: ImageLike) -> bytes:
    """`image` as a JPEG of quality 95 with 4:2:0 subsampling and no metadata."""
    buffer = io.BytesIO()
    picture = as_pil(image).copy()
    # The encoder would take over colour profile and comment, and they are no detail of the image.
    picture.info = {}
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def is_quality_95(path: str | Path) -> bool | None:
    """Whether a JPEG has libjpeg's tables of quality 95 and 4:2:0; None for another format."""
    image_format, _, coding = _header(Path(path))
    return coding == _reference_coding() if image_format == "JPEG" else None


class JpegSize(Measure):
    """Bytes of the pixels and of the JPEG, which give the Compression Ratio.

    The JPEG is the file itself, if it is one, unless `reencode` asks for a new one. `other_quality`
    is 1 for a file not written at quality 95, whose size is not comparable.
    """

    name = "jpeg"
    columns: tuple[Column, ...] = (
        Ratio(
            *("compression_ratio", "Compression Ratio", "lower", 2),
            *("raw_bytes", "jpeg_bytes", "jpeg_other_quality"),
        ),
    )
    position = 20

    def __init__(self, reencode: bool = False) -> None:
        self._reencode = reencode
        kind = "every picture" if reencode else "what is no JPEG"
        self.protocol = f"{kind} encoded at quality {QUALITY}, 4:2:0"

    @classmethod
    def make(cls, setup: MeasureSetup) -> "JpegSize":
        """With `reencode` of the settings."""
        return cls(setup.settings.reencode)

    def __call__(self, picture: MeasuredImage) -> Found:
        """Raises `Diffusion4kError` for a broken file."""
        height, width, _ = picture.pixels.shape
        at_quality_95 = None if self._reencode else is_quality_95(picture.path)
        reencoded = at_quality_95 is None
        size = len(jpeg_bytes(picture.pil)) if reencoded else picture.path.stat().st_size
        return Found(
            {
                "width": width,
                "height": height,
                "raw_bytes": width * height * 3,
                "jpeg_bytes": size,
                "jpeg_reencoded": float(reencoded),
                "jpeg_other_quality": float(at_quality_95 is False),
            }
        )


def _header(path: Path) -> tuple[str | None, tuple[int, int], tuple[object, ...]]:
    """Format, (width, height) and, of a JPEG, (quantisation tables, subsampling)."""
    from diffusion4k.data.images import read_image

    return read_image(path, _coding)


def _coding(
    image: "Image.Image", _: object
) -> tuple[str | None, tuple[int, int], tuple[object, ...]]:
    from PIL import JpegImagePlugin

    coding: tuple[object, ...] = ()
    if image.format == "JPEG":
        coding = _tables(image), JpegImagePlugin.get_sampling(image)
    return image.format, image.size, coding


def _tables(image: object) -> tuple[object, ...]:
    return tuple(tuple(table) for _, table in sorted(image.quantization.items()))  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def _reference_coding() -> tuple[object, ...]:
    from PIL import Image

    buffer = io.BytesIO(jpeg_bytes(Image.new("RGB", (16, 16))))
    with Image.open(buffer) as image:
        return _tables(image), _SUBSAMPLING_420
