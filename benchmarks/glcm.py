"""GLCM Score and properties of a 4096x4096 photograph: this package against scikit-image.

    python benchmarks/glcm.py [PHOTOGRAPH]

The photograph (default: the first bundled one) is resized to cover 4096x4096 and cropped. Both
sides start from the same array in memory. Ours finds the score, the textbook entropy and nine
properties in one pass; it is timed against scikit-image's way to the score alone, and to all.
"""

import sys
from pathlib import Path

import common
import numpy as np
from PIL import Image, ImageOps
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import shannon_entropy

import diffusion4k
from diffusion4k.metrics import glcm_map
from diffusion4k.metrics.glcm import PROPERTIES

SIDE = 4096
ANGLES = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]


def scikit_image_maps(rgb: np.ndarray, *, score_only: bool = False) -> dict[str, np.ndarray]:
    """The definition, as a loop over patches: each metric's values, patch by patch."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    levels = ((red * 9798 + green * 19235 + blue * 3735 + 16384) >> 17).astype(np.uint8)
    names = () if score_only else PROPERTIES
    found: dict[str, list[float]] = {name: [] for name in ("score", *names)}
    for y in range(0, SIDE, 64):
        for x in range(0, SIDE, 64):
            matrices = graycomatrix(
                levels[y : y + 64, x : x + 64], [1, 2, 3, 4], ANGLES, levels=64, normed=True
            )
            found["score"].append(shannon_entropy(matrices))
            for name in names:
                asked = "ASM" if name == "asm" else name
                found[name].append(graycoprops(matrices, asked).mean())
    return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    """Run both in turn, print ratios and differences, keep the result."""
    bundled = Path(diffusion4k.__file__).parent / "pocket" / "photographs"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else min(bundled.glob("*.jpg"))
    with Image.open(path) as image:
        rgb = np.asarray(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS))
    ours = glcm_map(rgb)._asdict()
    differences = {
        name: float(np.abs(ours[name].ravel() - values).max())
        for name, values in scikit_image_maps(rgb).items()
    }
    speed = common.compare(
        lambda: glcm_map(rgb), lambda: scikit_image_maps(rgb, score_only=True), repeats=5
    )
    speed_of_all = common.compare(
        lambda: glcm_map(rgb), lambda: scikit_image_maps(rgb), repeats=2, warmup=0
    )
    worst = max(differences.values())
    print(f"GLCM Score of {path.name} at {SIDE}x{SIDE}: {speed}")
    print(f"Score and properties: {speed_of_all}")
    print(f"largest difference in any of {ours['score'].size} patches: {worst:.1e}")
    common.save(
        "glcm",
        {
            "photograph": path.name,
            "patches": ours["score"].size,
            "speed": speed,
            "speed_of_all": speed_of_all,
            "largest_difference_in_a_patch": differences,
        },
    )


if __name__ == "__main__":
    main()
