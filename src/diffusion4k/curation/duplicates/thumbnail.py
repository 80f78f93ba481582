"""The grey thumbnail on which two pictures are compared, and its bytes.

Every pixel of the photograph counts in it (a box filter, then Pillow's), so that re-encoding and
resizing leave it nearly as it is. All thumbnails have about the same area, 160 x 160 pixels,
whatever the size and shape of the photograph; a smaller picture is enlarged to it.
"""

import io
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["SIDE", "from_jpeg", "thumbnail_of", "to_jpeg"]

SIDE = 160
"""Side in pixels of a square picture's thumbnail."""

_LEAST, _MOST = 8, 1000  # sides: a strip of 1 x 10,000 pixels is squeezed


def thumbnail_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey uint8 `(h, w)` of RGB uint8 `(H, W, 3)`."""
    from diffusion4k.curation.duplicates._picture_kernels import reduce_to_grey

    height, width = pixels.shape[:2]
    scale = SIDE / sqrt(width * height)
    size = tuple(min(max(round(side * scale), _LEAST), _MOST) for side in (width, height))
    # Down to twice the size in whole blocks; a block has no part of a pixel.
    factor = max(min(width // (2 * size[0]), height // (2 * size[1])), 1)
    grey = np.empty((height // factor, width // factor), np.float32)
    reduce_to_grey(np.ascontiguousarray(pixels), factor, grey)
    # What no whole block covers at the right and the bottom is less than half a thumbnail's pixel.
    small = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small).round().clip(0, 255).astype(np.uint8)


def to_jpeg(thumbnail: NDArray[np.uint8]) -> bytes:
    """A few KiB of JPEG."""
    file = io.BytesIO()
    Image.fromarray(thumbnail).save(file, "JPEG", quality=90)
    return file.getvalue()


def from_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Inverse of `to_jpeg`, up to the compression."""
    return np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]))
