"""GLCM Score of a 4096x4096 photograph: this package against scikit-image patch by patch.

    python benchmarks/glcm.py [PHOTOGRAPH]

The photograph (default: the first bundled one) is resized to cover 4096x4096 and cropped. Both
sides start from the same array in memory; ours includes the grey conversion and the textbook
entropy, which come in the same pass.
"""

import sys
from pathlib import Path

import common
import numpy as np
from PIL import Image, ImageOps
from skimage.feature import graycomatrix
from skimage.measure import shannon_entropy

import diffusion4k
from diffusion4k.metrics import glcm_score

SIDE = 4096
ANGLES = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]


def scikit_image_score(rgb: np.ndarray) -> float:
    """The definition, as a loop over patches."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    levels = ((red * 9798 + green * 19235 + blue * 3735 + 16384) >> 17).astype(np.uint8)
    scores = [
        shannon_entropy(
            graycomatrix(
                levels[y : y + 64, x : x + 64], [1, 2, 3, 4], ANGLES, levels=64, normed=True
            )
        )
        for y in range(0, SIDE, 64)
        for x in range(0, SIDE, 64)
    ]
    return float(np.mean(scores))


def main() -> None:
    """Run both in turn, print the ratio and the difference, keep the result."""
    bundled = Path(diffusion4k.__file__).parent / "pocket" / "photographs"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else min(bundled.glob("*.jpg"))
    with Image.open(path) as image:
        rgb = np.asarray(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS))
    difference = abs(glcm_score(rgb) - scikit_image_score(rgb))
    speed = common.compare(lambda: glcm_score(rgb), lambda: scikit_image_score(rgb), repeats=5)
    print(f"GLCM Score of {path.name} at {SIDE}x{SIDE}: {speed}; difference {difference:.1e}")
    common.save(
        "glcm", {"photograph": path.name, "speed": speed, "absolute_difference": difference}
    )


if __name__ == "__main__":
    main()
