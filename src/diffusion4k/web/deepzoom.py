"""Pictures of any size in a browser: only the tiles that are seen, in the size they are seen at.

A picture of W x H pixels has levels 0 to L = ceil(log2(max(W, H))); level l is
ceil(W / 2^(L-l)) x ceil(H / 2^(L-l)) pixels, level L the picture itself (the Deep Zoom scheme).
Tiles are cut when they are asked for. Those of level L are PNG, the picture's very pixels: what is
judged at 100% must not have been compressed once more.

Decoding is what takes time. JPEG decodes at 1/2, 1/4 and 1/8 of its size much faster, so an
overview of at least `OVERVIEW` pixels serves the lower levels, and the whole picture is decoded
only when someone looks closer.
"""

import io
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from diffusion4k.data.images import image_size, open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.web.cache import BoundedCache

__all__ = ["OVERLAP", "OVERVIEW", "TILE", "Pyramid", "Tile", "Tiles"]

TILE = 512
"""Pixels a side of a tile, without overlap."""
OVERLAP = 1
"""Pixels that a tile repeats of each neighbour, against seams."""
OVERVIEW = 2048
"""Least longer side of what the lower levels are made from."""

_HALVINGS = 3  # JPEG decodes down to an eighth.
_AT_ONCE = threading.Semaphore(2)  # Each decoding holds a whole picture.


@dataclass(frozen=True)
class Tile:
    """An encoded tile."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Pyramid:
    """The sizes of a picture's levels."""

    width: int
    height: int

    @property
    def top(self) -> int:
        """L, the level of the picture itself."""
        return (max(self.width, self.height) - 1).bit_length()

    @property
    def overview(self) -> int:
        """The highest level that a quick decoding is good for."""
        longer, halvings = max(self.width, self.height), 0
        while halvings < _HALVINGS and longer >> (halvings + 1) >= OVERVIEW:
            halvings += 1
        return self.top - halvings

    def size(self, level: int) -> tuple[int, int]:
        """Width and height of a level, pixels."""
        shift = self.top - level
        return -(-self.width >> shift), -(-self.height >> shift)

    def box(self, level: int, column: int, row: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a tile in its level.

        Raises:
            Diffusion4kError: no such tile.
        """
        if 0 <= level <= self.top:
            width, height = self.size(level)
            if 0 <= column * TILE < width and 0 <= row * TILE < height:
                return (
                    max(column * TILE - OVERLAP, 0),
                    max(row * TILE - OVERLAP, 0),
                    min((column + 1) * TILE + OVERLAP, width),
                    min((row + 1) * TILE + OVERLAP, height),
                )
        raise Diffusion4kError(f"no tile {column}, {row} in level {level}")


class Tiles:
    """Tiles of picture files; keeps at most `limit` bytes of decoded pictures.

    Every method raises `Diffusion4kError` for a file that is gone or cannot be decoded.
    """

    def __init__(self, limit: int = 1 << 30) -> None:
        self._sizes: BoundedCache[Pyramid] = BoundedCache(10_000, lambda _: 1)
        self._levels: BoundedCache[list[Image.Image]] = BoundedCache(limit, _bytes)

    def pyramid(self, path: Path) -> Pyramid:
        """The sizes of the picture's levels, from its header alone."""
        return self._sizes.get(_version(path), lambda: Pyramid(*image_size(path)))

    def tile(self, path: Path, level: int, column: int, row: int) -> Tile:
        """A tile of the picture."""
        pyramid = self.pyramid(path)
        box = pyramid.box(level, column, row)
        if level <= pyramid.overview:
            image = self._overview(path, pyramid)[pyramid.overview - level]
        else:
            image = self._whole(path, pyramid)[pyramid.top - level]
        return _encode(image.crop(box), exact=level == pyramid.top)

    def _overview(self, path: Path, pyramid: Pyramid) -> list[Image.Image]:
        if pyramid.overview == pyramid.top:
            return self._whole(path, pyramid)
        halvings = pyramid.top - pyramid.overview

        def make() -> list[Image.Image]:
            # Rounded down, as the decoder takes the smallest size that is not below.
            least = (max(pyramid.width >> halvings, 1), max(pyramid.height >> halvings, 1))
            with _AT_ONCE:
                image = open_rgb(path, at_least=least)
            if image.size == (pyramid.width, pyramid.height):
                # No JPEG: then it is whole, and need not be decoded again to look closer.
                image = self._levels.get(
                    _version(path, "whole"), lambda: _halved(image, halvings + 1)
                )[halvings]
            return _halved(image, pyramid.overview + 1)

        return self._levels.get(_version(path, "overview"), make)

    def _whole(self, path: Path, pyramid: Pyramid) -> list[Image.Image]:
        halvings = pyramid.top - pyramid.overview

        def make() -> list[Image.Image]:
            with _AT_ONCE:
                image = open_rgb(path)
            return _halved(image, halvings + 1 if halvings else pyramid.top + 1)

        return self._levels.get(_version(path, "whole"), make)


def _version(path: Path, part: str = "") -> Hashable:
    try:
        stat = path.stat()
    except OSError as error:
        raise Diffusion4kError(f"{path}: {error.strerror}: put the picture back") from None
    return path, stat.st_size, stat.st_mtime_ns, part


def _halved(image: Image.Image, levels: int) -> list[Image.Image]:
    """The image and its halves, each the mean of 2x2 pixels of the one before."""
    images = [image]
    while len(images) < levels:
        images.append(images[-1].reduce(2))
    return images


def _bytes(images: list[Image.Image]) -> int:
    return sum(3 * image.width * image.height for image in images)


def _encode(image: Image.Image, *, exact: bool) -> Tile:
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, "PNG", compress_level=1)
        return Tile(buffer.getvalue(), "image/png")
    image.save(buffer, "JPEG", quality=92, subsampling=0)
    return Tile(buffer.getvalue(), "image/jpeg")
