"""Plain JPEGs decoded straight into an array, by libjpeg-turbo.

Pillow decodes with libjpeg-turbo as well, but keeps four bytes a pixel and copies them into three
when an array is asked for; decoding into the array itself takes about half the time. What is
not plain (four channels, odd subsampling, any warning of the decoder) is left to Pillow, so that
the pixels and the errors are Pillow's in every case.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_jpeg"]

_COLOURS = {"RGB": "RGB", "L": "GRAY"}


def decode_jpeg(content: bytes, mode: str) -> NDArray[np.uint8] | None:
    """The first picture of a JPEG file as RGB `(H, W, 3)`; None if it is not a plain one.

    `mode` is what Pillow calls the picture's channels; grey is repeated three times.
    """
    if mode not in _COLOURS:
        return None
    import simplejpeg

    try:
        # Strict: a warning (truncated, corrupt data) is an error, which Pillow shall judge.
        pixels = simplejpeg.decode_jpeg(content, colorspace=_COLOURS[mode], strict=True)
    except ValueError:
        return None
    return pixels if mode == "RGB" else np.repeat(pixels, 3, axis=2)
