"""Pictures of the report, each as text that a page can hold: JPEG data URIs."""

from pathlib import Path

from PIL import Image

from diffusion4k.metrics.regions import Box
from diffusion4k.support.data_uri import jpeg_uri

__all__ = ["crop_uri", "reduced_uri"]


def reduced_uri(path: Path, longest: int = 1100) -> str:
    """The image, reduced so that its longer side is at most `longest`, as a JPEG data URI."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return jpeg_uri(image, 85)


def crop_uri(path: Path, box: Box) -> str:
    """The pixels of `box` as they are, as a JPEG data URI of quality 92."""
    with Image.open(path) as opened:
        return jpeg_uri(opened.convert("RGB").crop(box), 92)
