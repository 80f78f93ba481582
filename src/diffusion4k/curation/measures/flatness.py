"""Flat areas: the share of a photograph in which there is nothing to learn detail from.

The grey picture is cut into non-overlapping patches of 240x240 pixels (what stands over at the
right and the bottom is left out); a patch is flat if the variance of its Sobel magnitude is below
800. The Sobel filter is OpenCV's 3x3 one without normalisation (magnitudes up to 1442), over the
whole picture with mirrored borders.

Source: UltraFlux (arXiv 2511.18050), which drops pictures with more than half of the patches flat;
before it LSDIR (CVPRW 2023).
"""

import numpy as np

from diffusion4k.curation.measures.picture import Photograph

__all__ = ["FLAT", "MEASURES", "PATCH", "measure"]

MEASURES = {
    "flat_ratio": "share of 240x240 patches whose Sobel variance is below 800 (0 to 1; less is "
    "better)",
}
PATCH = 240
FLAT = 800


def measure(picture: Photograph) -> dict[str, float]:
    """The ratio; NaN for a picture smaller than a patch."""
    from diffusion4k.curation.measures._kernels import sobel_variances

    height, width = picture.grey.shape
    variances = np.empty((height // PATCH, width // PATCH))
    if not variances.size:
        return {"flat_ratio": float("nan")}
    sobel_variances(picture.grey, PATCH, variances)
    return {"flat_ratio": float((variances < FLAT).mean())}
