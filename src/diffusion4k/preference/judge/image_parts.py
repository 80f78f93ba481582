"""What the judge is shown: whole images made smaller, or the same regions of both at native size.

**Regions.** The two images are laid out in squares of a side, from the middle; a region is worth
the mean gradient of its grey values in that image in which it is lower, so that both have something
there, and neither model chooses. Of images of unequal sizes regions are equal as fractions of width
and height, and the squares equal in pixels.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion4k.data.images import image_size, open_rgb
from diffusion4k.endpoint.images import image_part, sent_size
from diffusion4k.preference.judge.prompt import JudgeSettings
from diffusion4k.support.data_uri import jpeg_uri

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionContentPartImageParam as ImagePart

__all__ = ["ImageParts", "Place", "busiest_places", "patch_side", "room"]

Place: TypeAlias = tuple[float, float]
"""Middle of a square, as fractions of width and height."""
Parts: TypeAlias = tuple["ImagePart", "ImagePart"]
_KEPT = 6  # pairs whose parts are kept, as they are asked about several times in a row


class ImageParts:
    """Parts of messages for pairs of images, made once for all questions about a pair."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._kept: OrderedDict[tuple[Path, Path], list[Parts]] = OrderedDict()
        self._lock = threading.Lock()

    def parts(self, paths: tuple[Path, Path], patch: int) -> Parts:
        """Both images: whole for patch 0, else the patch of that number.

        Raises:
            Diffusion4kError: an image cannot be read.
        """
        with self._lock:  # One pair at a time: two 4K images are memory enough.
            if paths not in self._kept:
                self._kept[paths] = self._make(paths)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return self._kept[paths][patch]

    def _make(self, paths: tuple[Path, Path]) -> list[Parts]:
        settings = self._settings
        whole = [
            image_part(path, sent_size(*image_size(path), settings.image.longest), settings.image)
            for path in paths
        ]
        made = [(whole[0], whole[1])]
        if settings.patches:
            two = [open_rgb(path) for path in paths]
            side = patch_side(two[0].size, two[1].size, settings.patch_side)
            for place in busiest_places(two[0], two[1], side, settings.patches):
                cut = [self._cut(image, place, side) for image in two]
                made.append((cut[0], cut[1]))
        return made

    def _cut(self, image: Image.Image, place: Place, side: int) -> "ImagePart":
        left, top = (
            min(max(round(middle * length - side / 2), 0), length - side)
            for middle, length in zip(place, image.size, strict=True)
        )
        square = image.crop((left, top, left + side, top + side))
        address = jpeg_uri(square, self._settings.image.quality, exact_colours=True)
        detail = self._settings.image.detail
        return {"type": "image_url", "image_url": {"url": address, "detail": detail}}


def patch_side(first: tuple[int, int], second: tuple[int, int], wanted: int) -> int:
    """Pixels of a patch: as wanted, unless an image is smaller."""
    return min(wanted, *first, *second)


def room(first: tuple[int, int], second: tuple[int, int], side: int) -> int:
    """How many patches of a side two images of such sizes have room for."""
    columns, rows = _grid(first, second, side)
    return columns * rows


def busiest_places(first: Image.Image, second: Image.Image, side: int, count: int) -> list[Place]:
    """At most `count` regions, the one with the most detail in both images first."""
    columns, rows = _grid(first.size, second.size, side)
    worth = np.minimum(*(_detail(image, side, columns, rows) for image in (first, second)))
    best = np.argsort(-worth, axis=None, kind="stable")[:count]
    return [
        (float((column + 0.5) / columns), float((row + 0.5) / rows))
        for row, column in zip(*np.unravel_index(best, worth.shape), strict=True)
    ]


def _grid(first: tuple[int, int], second: tuple[int, int], side: int) -> tuple[int, int]:
    return min(first[0], second[0]) // side, min(first[1], second[1]) // side


def _detail(image: Image.Image, side: int, columns: int, rows: int) -> NDArray[np.float64]:
    """Mean absolute gradient of each region `(rows, columns)`."""
    grey = np.asarray(image.convert("L"), np.int16)
    found = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            top = round((row + 0.5) / rows * grey.shape[0] - side / 2)
            left = round((column + 0.5) / columns * grey.shape[1] - side / 2)
            square = grey[max(top, 0) : top + side, max(left, 0) : left + side]
            found[row, column] = sum(np.abs(np.diff(square, axis=axis)).mean() for axis in (0, 1))
    return found
