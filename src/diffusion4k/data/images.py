"""Photographs as they are meant to be seen: upright, in sRGB, eight bits, without transparency.

EXIF orientation is applied, an embedded colour profile is converted to sRGB, sixteen bits are
scaled to eight, transparency is laid over white, of an animation the first frame is taken.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from diffusion4k.data.jpeg import decode_jpeg
from diffusion4k.errors import Diffusion4kError

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "ImageSource",
    "image_header",
    "image_size",
    "open_pixels",
    "open_rgb",
]

ImageSource: TypeAlias = str | Path | BinaryIO
"""A path, or a file opened for reading, whose `name` is what errors call it."""

MAX_PIXELS = 1 << 30
"""Largest photograph that is opened: 1 gigapixel, 3 GiB decoded."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif", ".jp2", ".ppm"}
)
"""Endings by which a file in a folder is taken for an image."""

# Pillow also reads formats that start other programs (EPS) or are no photographs; not here.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM")

# Pillow refuses above twice its limit and warns above the limit, which for photographs at 4K and
# beyond is noise, as are its notes on odd metadata.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
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
    with _opened(source) as image:
        whole = image.size
        if at_least:
            sideways = _orientation(image) in _SIDEWAYS
            image.draft(None, at_least[::-1] if sideways else at_least)
        pixels = _plain_jpeg(source, image) if image.size == whole else None
        return _as_seen(image) if pixels is None else Image.fromarray(pixels)


def open_pixels(source: ImageSource) -> NDArray[np.uint8]:
    """The pixels of `open_rgb`, RGB `(H, W, 3)`; of a plain JPEG in about half the time.

    Raises as `open_rgb` does.
    """
    with _opened(source) as image:
        pixels = _plain_jpeg(source, image)
        return np.asarray(_as_seen(image)) if pixels is None else pixels


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height in pixels as `open_rgb` gives them, read from the header alone.

    Raises:
        Diffusion4kError: no such file, no image, or over `MAX_PIXELS`.
    """
    header = image_header(source)
    return header.width, header.height


def image_header(source: ImageSource) -> Header:
    """Size and format, read from the header alone; raises as `image_size`."""
    with _opened(source) as image:
        width, height = image.size
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return Header(width, height, image.format or "")


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
def _opened(source: ImageSource) -> Iterator[Image.Image]:
    if isinstance(source, str):
        source = Path(source)
    path = source if isinstance(source, Path) else getattr(source, "name", "image")
    if _bytes_in(source) == 0:
        raise Diffusion4kError(f"{path}: empty file (0 bytes): copy it again or remove it")
    Image.init()
    try:
        with Image.open(source, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
            yield image
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
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Diffusion4kError(
            f"{path}: damaged or truncated image ({reason}): copy it again, replace or remove it"
        ) from error


def _content(source: ImageSource) -> bytes:
    """All bytes of the file; one that is open is left where it was."""
    if isinstance(source, str | Path):
        return Path(source).read_bytes()
    place = source.tell()
    source.seek(0)
    content = source.read()
    source.seek(place)
    return content


def _plain_jpeg(source: ImageSource, image: Image.Image) -> NDArray[np.uint8] | None:
    """Pixels of a JPEG that needs no more than decoding; None of any other image."""
    plain = image.format == "JPEG" and "icc_profile" not in image.info
    if not plain or _orientation(image) in _TURNS:
        return None
    return decode_jpeg(_content(source), image.mode)


def _as_seen(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    image.load()
    profile = image.info.get("icc_profile")
    colour, alpha = _separate(_eight_bits(image))
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


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these itself.
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole image to look for tags behind it.
    return image.getexif().get(_ORIENTATION, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # `convert` would clip at 255.
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per channel, allowed are 8 and 16")
    return image


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
