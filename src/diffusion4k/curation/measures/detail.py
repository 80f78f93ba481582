"""Local detail by grey-level co-occurrence: the paper's GLCM Score and the textbook's entropy.

Both are those of `diffusion4k.metrics.glcm`, over all 64x64 patches. White noise scores highest, so
they are to be read beside the noise.

Source: Diffusion-4K (arXiv 2503.18352), section 3.2; Haralick et al. 1973.
"""

from diffusion4k.curation.measures.picture import Photograph
from diffusion4k.metrics.glcm import PATCH, glcm_map_of_grey

__all__ = ["MEASURES", "measure"]

MEASURES = {
    "glcm_score": "GLCM Score in bits (0 to about 1.2; more is better, but noise has most)",
    "glcm_entropy": "textbook GLCM entropy in bits (0 to 12; more is better, but noise has most)",
}


def measure(picture: Photograph) -> dict[str, float]:
    """Both values; NaN for a picture smaller than a patch."""
    if min(picture.grey.shape) < PATCH:
        return dict.fromkeys(MEASURES, float("nan"))
    # One photograph a thread is the caller's way to keep all cores busy.
    patches = glcm_map_of_grey(picture.grey, threads=1)
    return {
        "glcm_score": float(patches.score.mean()),
        "glcm_entropy": float(patches.entropy.mean()),
    }
