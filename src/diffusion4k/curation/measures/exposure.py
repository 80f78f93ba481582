"""Exposure: how the grey values of a photograph fill the range from 0 to 255.

All but the last are read from the histogram of the grey picture (OpenCV's weights, eight bits), and
mean the same at any size. A colour is lost as soon as one of its channels is clipped, which a red
flower shows long before its grey value is white: that is the last.
"""

import numpy as np

from diffusion4k.curation.measures.picture import WHITE, Photograph

__all__ = ["MEASURES", "measure"]

MEASURES = {
    "brightness": "mean grey value (0 to 255)",
    "contrast": "standard deviation of the grey values (0 to 127.5; more is better)",
    "black_level": "grey value that 1% of the pixels do not exceed (0 to 255)",
    "white_level": "grey value that 99% of the pixels do not exceed (0 to 255)",
    "clipped_shadows": "share of pixels of grey value 2 or less (0 to 1; less is better)",
    "clipped_highlights": "share of pixels of grey value 253 or more (0 to 1; less is better)",
    "blown_out": "share of pixels with a channel of 253 or more (0 to 1; less is better)",
}


def measure(picture: Photograph) -> dict[str, float]:
    """The seven values."""
    share = picture.histogram / picture.histogram.sum()
    levels = np.arange(256)
    mean = float(share @ levels)
    summed = np.cumsum(share)
    return {
        "brightness": mean,
        "contrast": float(np.sqrt(share @ (levels - mean) ** 2)),
        "black_level": float(np.searchsorted(summed, 0.01)),
        "white_level": float(np.searchsorted(summed, 0.99)),
        "clipped_shadows": float(share[:3].sum()),
        "clipped_highlights": float(share[WHITE:].sum()),
        "blown_out": picture.blown_out / picture.grey.size,
    }
