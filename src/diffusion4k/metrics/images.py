"""What every metric accepts as an image: a path, a PIL image or an RGB uint8 array."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageLike", "as_array", "as_pil"]

ImageLike: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"


def as_pil(image: ImageLike) -> "Image.Image":
    """`image` as an RGB PIL image; paths are read upright and in sRGB, without an alpha channel.

    Raises `Diffusion4kError` for a broken file, or an array that is not uint8 `(H, W, 3)`.
    """
    from PIL import Image

    if isinstance(image, (str, Path)):
        from diffusion4k.data.images import open_rgb

        return open_rgb(Path(image))
    if isinstance(image, Image.Image):
        return image if image.mode == "RGB" else image.convert("RGB")
    return Image.fromarray(_checked(image))


def as_array(image: ImageLike) -> NDArray[np.uint8]:
    """`image` as an RGB uint8 array `(H, W, 3)`; raises as `as_pil` does."""
    if isinstance(image, np.ndarray):
        return _checked(image)
    return np.asarray(as_pil(image))


def _checked(image: NDArray) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise Diffusion4kError(
            f"image array of {image.dtype} {image.shape}: a metric takes uint8 (H, W, 3) in RGB "
            "order; scale to 0-255, round and repeat a grey channel three times"
        )
    return image
