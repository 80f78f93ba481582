"""Photographs as they are meant to be seen: upright, in sRGB, eight bits, without transparency.

EXIF orientation is applied, an embedded colour profile is converted to sRGB, sixteen bits are
scaled to eight, transparency is laid over white, of an animation the first frame is taken.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from diffusion4k.data.damage import check_finished
from diffusion4k.data.depth import eight_bits
from diffusion4k.data.jpeg import decode_jpeg
from diffusion4k.data.without_metadata import without_metadata
from diffusion4k.errors import Diffusion4kError, one_line

__all__ = [
    "ENDINGS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "ImageSource",
    "image_header",
    "image_size",
    "open_pixels",
    "open_rgb",
    "read_image",
]

Looked = TypeVar("Looked")

ImageSource: TypeAlias = str | Path | BinaryIO
"""A path, or a file opened for reading, whose `name` is what errors call it."""

MAX_PIXELS = 1 << 30
"""Largest photograph that is opened: 1 gigapixel, 3 GiB decoded."""

ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""File endings by Pillow's name of a format, the usual one first."""

SUFFIXES = frozenset(ending for endings in ENDINGS.values() for ending in endings)
"""Endings by which a file in a folder is taken for an image."""

_MOST_BYTES = 4 << 30
"""Largest file in which a photograph is expected."""

# Pillow also reads formats that start other programs (EPS) or are no photographs; not here.
_FORMATS = tuple(ENDINGS)

# Pillow refuses above twice its limit and warns above the limit, which for photographs at 4K and
# beyond is noise, as are its notes on odd metadata.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
# By default 1 MiB: editors' histories and scanners' profiles are longer.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Header:
    """What a file says of itself: width and height in pixels, upright, and Pillow's format."""

    width: int
    height: int
    format: str


def open_rgb(source: ImageSource, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The photograph as an RGB image of eight bits, wholly decoded.

    Of a JPEG of which only `at_least` so many pixels in width and height are wanted, a half, a
    quarter or an eighth of each side is decoded, which is that much faster.

    Raises:
        Diffusion4kError: no such file, no image, damaged or truncated, over `MAX_PIXELS`, or 32
            bits per channel.
    """

    def decode(image: Image.Image, file: BinaryIO) -> Image.Image:
        if at_least:
            sideways = _orientation(image) in _SIDEWAYS
            image.draft(None, at_least[::-1] if sideways else at_least)
        return _as_seen(image, file)

    return read_image(source, decode)


def open_pixels(source: ImageSource) -> NDArray[np.uint8]:
    """The pixels of `open_rgb`, RGB `(H, W, 3)`; of a plain JPEG in about half the time.

    Raises as `open_rgb` does.
    """

    def decode(image: Image.Image, file: BinaryIO) -> NDArray[np.uint8]:
        if image.mode == "RGB" and not _is_turned(image) and "icc_profile" not in image.info:
            pixels = _jpeg_pixels(image, file)
            if pixels is not None:
                return pixels
        return np.asarray(_as_seen(image, file))

    return read_image(source, decode)


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height in pixels as `open_rgb` gives them, read from the header alone.

    Raises:
        Diffusion4kError: no such file, no image, or over `MAX_PIXELS`.
    """
    header = image_header(source)
    return header.width, header.height


def image_header(source: ImageSource) -> Header:
    """Size and format, read from the header alone; raises as `image_size`."""

    def size_and_format(image: Image.Image, _: BinaryIO) -> Header:
        width, height = image.size
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return Header(width, height, image.format or "")

    return read_image(source, size_and_format)


def read_image(source: ImageSource, look: Callable[[Image.Image, BinaryIO], Looked]) -> Looked:
    """What `look` finds in the image that Pillow opened, given with its file.

    If it fails, it is called once more with a copy without metadata, which are no reason to
    refuse the pixels.

    Raises:
        Diffusion4kError: as `open_rgb`, of whatever `look` or Pillow raised.
    """
    if isinstance(source, str):
        source = Path(source)
    path = source if isinstance(source, Path) else getattr(source, "name", "image")
    if _bytes_in(source) == 0:
        raise Diffusion4kError(f"{path}: empty file (0 bytes): copy it again or remove it")
    with _in_one_line(path), _opened(source) as file:
        try:
            return _look(file, look)
        except (MemoryError, Image.DecompressionBombError):
            raise
        except Exception as error:
            file.seek(0)
            bare = without_metadata(file.read(_MOST_BYTES))
            if bare is None:
                raise
            try:
                return _look(io.BytesIO(bare), look)
            except Exception:
                raise error from None


def _look(file: BinaryIO, look: Callable[[Image.Image, BinaryIO], Looked]) -> Looked:
    Image.init()
    # Opened as a file, not by its path: Pillow maps uncompressed files that it opens by path into
    # memory, with rows of the wrong length where a TIFF is turned.
    with Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
        return look(image, file)


def _bytes_in(source: Path | BinaryIO) -> int:
    """Size of the file; `Diffusion4kError` if there is none."""
    if not isinstance(source, Path):
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        return size
    if not source.is_file():
        what = "not a file" if source.exists() else "no such file"
        raise Diffusion4kError(f"{source}: {what}: give an image file")
    return source.stat().st_size


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        yield source
        return
    with source.open("rb") as file:
        yield file


@contextmanager
def _in_one_line(path: str | Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one line that names the file."""
    try:
        yield
    except Diffusion4kError:
        raise
    except MemoryError:
        raise Diffusion4kError(
            f"{path}: not enough memory to decode it: make it smaller or remove it"
        ) from None
    except UnidentifiedImageError:
        raise Diffusion4kError(
            f"{path}: not an image (or none of {', '.join(_FORMATS)}): replace or remove it"
        ) from None
    except Image.DecompressionBombError:
        raise Diffusion4kError(
            f"{path}: larger than 1 gigapixel ({MAX_PIXELS} pixels): make it smaller or remove it"
        ) from None
    except PermissionError:
        raise Diffusion4kError(f"{path}: may not be read: check its permissions") from None
    except Exception as error:
        # Decoders raise whatever they stumble upon: OSError, SyntaxError, struct.error, ...
        raise Diffusion4kError(
            f"{path}: damaged or truncated image ({one_line(error)}): copy it "
            "again, replace or remove it"
        ) from error


def _as_seen(image: Image.Image, file: BinaryIO) -> Image.Image:
    orientation, profile = _orientation(image), image.info.get("icc_profile")
    colour, alpha = _separate(eight_bits(_decoded(image, file)))
    rgb = _to_srgb(colour, profile)
    if alpha is not None:
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        rgb = white
    if orientation in _TURNS:
        rgb = rgb.transpose(_TURNS[orientation])
    # Pillow would write the profile and tags left in here into any copy that is saved.
    rgb.info = {}
    return rgb


def _decoded(image: Image.Image, file: BinaryIO) -> Image.Image:
    """The image with its pixels in memory.

    Raises:
        ValueError: they are damaged, which Pillow does not say of every format.
    """
    pixels = _jpeg_pixels(image, file)
    if pixels is not None:
        return Image.fromarray(pixels)
    if image.format in ("WEBP", "AVIF"):
        offset = file.tell()
        file.seek(0)
        check_finished(file.read(_most_bytes(image)), image.format)
        file.seek(offset)
    size = image.size
    image.load()
    if image.size != size:
        found = "{}x{}".format(*image.size)
        raise ValueError(f"its header says {size[0]}x{size[1]} pixels, found {found}")
    return image


def _jpeg_pixels(image: Image.Image, file: BinaryIO) -> NDArray[np.uint8] | None:
    """Pixels of a JPEG as stored, in the size to which it was drafted; None of other images."""
    if image.format not in ("JPEG", "MPO"):
        return None
    offset = file.tell()
    file.seek(0)
    content = file.read(_most_bytes(image))
    file.seek(offset)
    return decode_jpeg(content, image.mode, image.size)


def _most_bytes(image: Image.Image) -> int:
    """More than a compressed picture takes; what may follow it in the file is not read."""
    return min(8 * image.width * image.height + (64 << 20), _MOST_BYTES)


def _is_turned(image: Image.Image) -> bool:
    return _orientation(image) in _TURNS


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these itself.
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole image to look for tags behind it.
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1  # Tags that cannot be read; Pillow raises whatever it stumbles upon in them.


def _separate(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in a mode that profiles speak of, and the alpha channel if there is one."""
    alpha = None
    if image.has_transparency_data:
        grey = image.mode in ("L", "LA", "La")
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if grey else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    return image, alpha


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # A damaged profile, or one of another kind of image: as browsers do, not used.
        else:
            if converted is not None:
                return converted
    return image.convert("RGB")
