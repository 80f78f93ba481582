"""Sixteen bits a channel scaled to eight, from every form in which files store them."""

import numpy as np
from PIL import Image

__all__ = ["eight_bits"]

_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


def eight_bits(image: Image.Image) -> Image.Image:
    """A decoded image with at most eight bits a channel; grey stays grey.

    Raises:
        ValueError: 32 bits per channel.
    """
    # Of a PGM with more than eight bits Pillow gives values up to 65535 as 32-bit integers.
    is_deep_grey = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM")
    if not is_deep_grey:
        if image.mode.startswith(("I", "F")):
            raise ValueError("32 bits per channel, allowed are 8 and 16")
        return image
    values = np.asarray(image).astype(np.uint32)
    tags = getattr(image, "tag_v2", {})
    largest = 2 ** min(16, *tags.get(_BITS_PER_SAMPLE, (16,)), 16) - 1
    # `convert` would clip at 255.
    grey = ((np.minimum(values, largest) * 255 + largest // 2) // largest).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return Image.fromarray(grey)
    opacity = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(opacity)))
