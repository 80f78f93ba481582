"""What every metric accepts as an image: a path, a PIL image or an RGB uint8 array; its patches."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError, UsageError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

__all__ = ["ImageLike", "as_array", "as_pil", "check_batches", "patch_boxes"]

ImageLike: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"


def as_pil(image: ImageLike) -> "Image.Image":
    """`image` as an RGB PIL image.

    Paths are read upright, in sRGB, from 16 bits if need be, and transparency is laid over white;
    PIL images are taken as they are, without their transparency. Raises `Diffusion4kError` for a
    broken file, a PIL image of more than 8 bits, or an array that is not uint8 `(H, W, 3)`.
    """
    from PIL import Image

    if isinstance(image, (str, Path)):
        from diffusion4k.data.images import open_rgb

        return open_rgb(Path(image))
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise Diffusion4kError(
                f"PIL image of mode {image.mode}: a metric takes 8 bits per channel; give the path "
                "of the file, or scale it to 0-255 yourself"
            )
        return image if image.mode == "RGB" else image.convert("RGB")
    return Image.fromarray(_checked(image))


def as_array(image: ImageLike) -> NDArray[np.uint8]:
    """`image` as an RGB uint8 array `(H, W, 3)`; raises as `as_pil` does."""
    if isinstance(image, np.ndarray):
        return _checked(image)
    if isinstance(image, (str, Path)):
        from diffusion4k.data.images import open_pixels

        return open_pixels(image)
    return np.asarray(as_pil(image))


def _checked(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise Diffusion4kError(
            f"image array of {image.dtype} {image.shape}: a metric takes uint8 (H, W, 3) in RGB "
            "order; scale to 0-255, round and repeat a grey channel three times"
        )
    return np.asarray(image, np.uint8)


def check_batches(images: "Tensor", references: "Tensor") -> None:
    """Refuse all but two batches `(B, 3, H, W)` of one shape.

    Raises:
        UsageError: names both shapes.
    """
    if images.shape != references.shape or images.ndim != 4 or images.shape[1] != 3:
        raise UsageError(
            f"images of shapes {tuple(images.shape)} and {tuple(references.shape)}: both must "
            "be (batch, 3, height, width), and equal"
        )


def patch_boxes(
    width: int, height: int, patch_size: int, per_image: int | None = None
) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of non-overlapping patches, evenly spread over the image.

    As many rows and columns as fit; with `per_image` the densest grid of at most so many patches
    that keeps the image's shape. Raises `UsageError` for sizes below 1 and `Diffusion4kError` for
    an image smaller than a patch.
    """
    if patch_size < 1 or (per_image is not None and per_image < 1):
        raise UsageError(
            f"patch size {patch_size} and {per_image} patches per image: both must be at least 1"
        )
    columns, rows = width // patch_size, height // patch_size
    if not columns or not rows:
        raise Diffusion4kError(
            f"image of {width}x{height} is smaller than one patch of {patch_size}x{patch_size}: "
            "choose a smaller patch size"
        )
    if per_image is not None and columns * rows > per_image:
        shrink = (per_image / (columns * rows)) ** 0.5
        columns = min(max(1, int(columns * shrink)), per_image)
        rows = min(rows, per_image // columns)
    return [
        (left, top, left + patch_size, top + patch_size)
        for top in _spread(height - patch_size, rows)
        for left in _spread(width - patch_size, columns)
    ]


def _spread(last: int, count: int) -> list[int]:
    """`count` whole numbers evenly from 0 to `last`; a single one in the middle."""
    if count == 1:
        return [last // 2]
    return [last * n // (count - 1) for n in range(count)]
