"""The centre of images, so that rows of different sizes are measured on equally many pixels.

PixArt-Sigma makes 3840x2160 where others make 4096x4096. A mean over native patches does not depend
on how many there are, but a whole-image feature depends on the shape, and a Fréchet distance on the
number of patches. Pixels are cut, never resized: resizing would change the detail that is measured.
The cut pixels are kept as PNG files.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from diffusion4k.benchmark.comparable import Size
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.models import ImageSetEntry
from diffusion4k.metrics.images import as_array
from diffusion4k.support.files import atomic_path, sha256_of

__all__ = ["common_size", "cropped"]


def common_size(sizes: Iterable[Size]) -> Size:
    """The largest size that fits into all of them."""
    widths, heights = zip(*sizes, strict=True)
    return min(widths), min(heights)


def cropped(image: ImageSetEntry, is_of: Size | None, size: Size, folder: Path) -> ImageSetEntry:
    """The entry with the central `size` pixels of its image; the same where it has that size.

    A broken image is left as it is: measuring says what is wrong with it.

    Raises:
        UsageError: the image is smaller.
    """
    if is_of is None or is_of == size:
        return image
    if is_of[0] < size[0] or is_of[1] < size[1]:
        raise UsageError(
            f"{image.path}: {is_of[0]}x{is_of[1]} is smaller than crop {size[0]}x{size[1]}: choose "
            "a smaller one, or crop: common"
        )
    name = f"{image.path.stem[:80]}-{sha256_of(image.path)[:12]}-{size[0]}x{size[1]}.png"
    path = folder / name
    if not path.is_file():
        try:
            pixels = as_array(image.path)
        except Diffusion4kError:
            return image
        left, top = (is_of[0] - size[0]) // 2, (is_of[1] - size[1]) // 2
        with atomic_path(path) as temporary:
            centre = pixels[top : top + size[1], left : left + size[0]]
            Image.fromarray(centre).save(temporary, compress_level=1)
    return replace(image, path=path, file_name=path.name)
