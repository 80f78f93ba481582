"""JPEGs decoded straight into an array, by libjpeg-turbo, which reports damage.

Pillow decodes with libjpeg-turbo as well, but does not listen to its warnings: of a file of which
half is missing it gives half a picture in grey. It also keeps four bytes a pixel and copies them
into three when an array is asked for; decoding into the array itself takes about half the time.
What is not plain (four channels, odd subsampling) is left to Pillow.
"""

import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_jpeg"]

_COLOURS = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
_DAMAGE = re.compile(
    r"premature end|bad huffman|bad arithmetic|instead of RST|inconsistent progression", re.I
)
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x(\w\w)")
_FEW = 64
"""Bytes between markers that cameras and editors leave there; more are what a scan lost."""


def decode_jpeg(content: bytes, mode: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The first picture of a JPEG file: RGB `(H, W, 3)`, or grey `(H, W)`.

    None if it is to be decoded by Pillow.

    Args:
        mode: what Pillow calls the picture's channels.
        size: width and height in pixels; those of the file, or a half, a quarter or an eighth.

    Raises:
        ValueError: the compressed data end early or are damaged.
    """
    if mode not in _COLOURS:
        return None
    import simplejpeg

    width, height = size
    try:
        # Strict: a warning is an error, which says what the decoder found.
        pixels = simplejpeg.decode_jpeg(
            content, colorspace=_COLOURS[mode], min_width=width, min_height=height, strict=True
        )
    except ValueError as error:
        if _is_damage(str(error), content):
            raise
        return None
    if mode == "CMYK" or pixels.shape[:2] != (height, width):
        return None
    return pixels if mode == "RGB" else pixels[..., 0]


def _is_damage(warning: str, content: bytes) -> bool:
    """Whether pixels are missing; a decoder also warns of what makes no difference."""
    found = _EXTRANEOUS.search(warning)
    if not found:
        return bool(_DAMAGE.search(warning))
    count = int(found[1])
    end = content.rfind(bytes([0xFF, int(found[2], 16)]))
    # Some cameras fill the file up with one byte over and over, which are no lost data.
    is_padding = end >= count and len(set(content[end - count : end])) == 1
    return count > _FEW and not is_padding
