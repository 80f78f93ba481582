"""Image files that carry what made them, under names that follow from it.

The record is one JSON object: the `SamplingSettings` and the versions of the libraries. PNG holds
it as an iTXt chunk `diffusion4k`, JPEG as the EXIF tag UserComment; prompt and program stand beside
it in the fields that every image viewer shows.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from diffusion4k import __version__
from diffusion4k.data.images import ENDINGS
from diffusion4k.errors import Diffusion4kError
from diffusion4k.sampling.png import PngWriter
from diffusion4k.sampling.request import SamplingSettings
from diffusion4k.support.files import atomic_path
from diffusion4k.support.text_files import check_plain
from diffusion4k.support.versions import versions

__all__ = ["SUFFIXES", "image_name", "is_made_here", "is_present", "read_metadata", "write_image"]

SUFFIXES = {name: ENDINGS[name.upper()][0] for name in ("png", "jpeg")}

_KEY = "diffusion4k"
_RECORD = {"prompt", "seed", "model_fingerprint"}  # in every record
# The same file may go by several names (a path, a link to it): its fingerprint counts.
_NAMES = ("model", "init", "lora")
_DECIDING = [field.name for field in fields(SamplingSettings) if field.name not in _NAMES]
_UTF16 = b"UNICODE\0"
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}


def image_name(settings: SamplingSettings, suffix: str) -> str:
    """A file name that is readable and differs wherever the settings do."""
    text = unicodedata.normalize("NFKD", settings.prompt).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower())[:48].strip("-") or "image"
    identity = json.dumps(_identity(asdict(settings)), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{slug}-{digest}-seed{settings.seed}-{settings.width}x{settings.height}{suffix}"


def write_image(
    strips: Iterable[NDArray[np.uint8]], path: Path, settings: SamplingSettings
) -> None:
    """Write an image as PNG or JPEG (quality 95) by the suffix of `path`, wholly or not at all.

    It comes in strips `(rows, width, 3)` from the top; a PNG is written strip by strip, a JPEG
    when all are there.
    """
    metadata = {**asdict(settings), "versions": versions("diffusers", "torch")}
    record = json.dumps(metadata, ensure_ascii=False)
    program = f"diffusion4k {__version__}"
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".png":
            texts = {_KEY: record, "Description": settings.prompt, "Software": program}
            size = settings.width, settings.height
            with temporary.open("wb") as file, PngWriter(file, *size, texts) as png:
                for rows in strips:
                    png.write(rows)
        else:
            exif = Image.Exif()
            exif[ExifTags.Base.Software] = program
            # As bytes, for Pillow would replace what is not ASCII.
            exif[ExifTags.Base.ImageDescription] = settings.prompt[:1000].encode()
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _UTF16 + record.encode(
                "utf-16-le"
            )
            image = Image.fromarray(np.concatenate(list(strips)))
            image.save(temporary, quality=95, exif=exif)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The record of an image made by diffusion4k: the fields of `SamplingSettings`, and `versions`.

    Raises:
        Diffusion4kError: no such file, no image, or an image without such a record.
    """
    path = Path(path)
    check_plain(path)
    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                comment = image.getexif().get_ifd(ExifTags.IFD.Exif)
                content = comment.get(ExifTags.Base.UserComment, b"")
                is_ours = isinstance(content, bytes) and content.startswith(_UTF16)
                record = content[len(_UTF16) :].decode("utf-16-le") if is_ours else ""
            else:
                record = str(image.info.get(_KEY, ""))
        metadata = json.loads(record)
    except ValueError:
        metadata = None
    except FileNotFoundError:
        raise Diffusion4kError(f"{path}: no such file") from None
    except Exception as error:
        # Decoders raise whatever they stumble upon. Pillow says "unidentified" or "truncated"
        # without the system's error number.
        if getattr(error, "errno", None) is not None:
            raise
        raise Diffusion4kError(f"{path}: not an image that can be read") from None
    if not isinstance(metadata, dict) or not metadata.keys() >= _RECORD:
        raise Diffusion4kError(f"{path}: carries no record of diffusion4k")
    return metadata


def is_present(path: Path, settings: SamplingSettings) -> bool:
    """Whether `path` is a complete image that was made with these very settings."""
    if not path.is_file():
        return False
    try:
        metadata = read_metadata(path)
    except Diffusion4kError:
        return False
    return _identity(metadata) == _identity(asdict(settings)) and _is_whole(path)


def is_made_here(path: Path) -> bool:
    """Whether `path` carries a record of diffusion4k."""
    try:
        read_metadata(path)
    except Diffusion4kError:
        return False
    return True


def _identity(record: dict[str, object]) -> dict[str, object]:
    # A setting that is not used leaves the names of images as they were before there was one.
    used = {key: record[key] for key in _DECIDING if record.get(key) is not None}
    # As it is read back: JSON has lists only.
    return dict(json.loads(json.dumps(used)))


def _is_whole(path: Path) -> bool:
    # A copy that broke off still has its record, which stands at the beginning.
    with Image.open(path) as image:
        end = _ENDS.get(image.format or "", b"")
    with path.open("rb") as handle:
        handle.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
        return handle.read() == end
