"""Damaged, large or odd metadata never keep the pixels from being read."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffusion4k.data.images import image_header, image_size, open_pixels, open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.compression import is_quality_95
from tests.data.fake import picture
from tests.data.test_images import linear_rgb_profile

BASE = picture((90, 60))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BEHIND_HEADER = 33


def chunk(kind: bytes, data: bytes, *, is_sound: bool = True) -> bytes:
    checksum = zlib.crc32(kind + data) ^ (not is_sound)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def encoded(image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    BASE.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(*chunks: bytes) -> bytes:
    content = encoded("PNG")
    return content[:BEHIND_HEADER] + b"".join(chunks) + content[BEHIND_HEADER:]


def png_with_last(last: bytes) -> bytes:
    content = encoded("PNG")
    return content[:-12] + last + content[-12:]


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    content = encoded("JPEG", quality=95)
    added = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments
    )
    return content[:2] + added + content[2:]


noise = np.random.default_rng(0).bytes(1_500_000).hex().encode()
FILES = {
    "exif.png": png(chunk(b"eXIf", b"Exif\0\0nonsense")),
    "text.png": png(chunk(b"zTXt", b"workflow\0\0" + zlib.compress(noise))),
    "more-text.png": png(*[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(1 << 25)))] * 3),
    "profile.png": png(chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB + bytes(2_000_000)))),
    "no-profile.png": png(chunk(b"iCCP", b"x\0\7" + SRGB)),
    "gama.png": png(chunk(b"gAMA", b"\0")),
    "phys.png": png(chunk(b"pHYs", b"\0")),
    "chrm.png": png(chunk(b"cHRM", b"\0" * 5)),
    "srgb.png": png(chunk(b"sRGB", b"")),
    "animation.png": png(chunk(b"acTL", b"\0")),
    "international.png": png(chunk(b"iTXt", b"key\0\1\5")),
    "checksum.png": png(chunk(b"tEXt", b"key\0value", is_sound=False)),
    "checksums.png": png(
        chunk(b"eXIf", b"MM", is_sound=False), chunk(b"gAMA", b"", is_sound=False)
    ),
    "last.png": png_with_last(chunk(b"tIME", b"1", is_sound=False)),
    "exif.webp": encoded("WEBP", exif=b"Exif\0\0junkjunkjunk", quality=95),
    "profile.webp": encoded("WEBP", icc_profile=b"no profile", quality=95),
    "jfif.jpg": jpeg((0xE0, b"JFIF\0")),
    "adobe.jpg": jpeg((0xEE, b"Adobe")),
    "exif.jpg": jpeg((0xE1, b"Exif\0\0nonsense")),
    "profile.jpg": jpeg((0xE2, b"ICC_PROFILE\0")),
    "several.jpg": jpeg((0xE2, b"MPF\0MM\0*\0\0"), (0xED, b"Photoshop 3.0\0008BIM\3\xed")),
}


@pytest.mark.parametrize("name", FILES)
def test_the_pixels_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    most = 0 if name.endswith("png") else 4
    difference = np.asarray(open_rgb(path), float) - np.asarray(BASE, float)
    assert np.abs(difference).mean() <= most
    np.testing.assert_array_equal(open_pixels(path), np.asarray(open_rgb(path)))
    assert image_size(path) == BASE.size
    assert is_quality_95(path) == (True if name.endswith("jpg") else None)


def test_avif_with_damaged_tags(tmp_path: Path) -> None:
    path = tmp_path / "photo.avif"
    exif = Image.Exif()
    exif[0x010E] = "a marker of our own"
    content = encoded("AVIF", exif=exif, quality=95)
    tiff = content.index(exif.tobytes().removeprefix(b"Exif\0\0"))
    path.write_bytes(content[:tiff] + b"junk" + content[tiff + 4 :])
    with pytest.raises((SyntaxError, ValueError)):
        Image.open(path)
    difference = np.asarray(open_rgb(path), float) - np.asarray(BASE, float)
    assert np.abs(difference).mean() <= 3


def test_what_says_how_pixels_look_is_kept_beside_what_is_damaged(tmp_path: Path) -> None:
    damaged = chunk(b"gAMA", b"\0")
    BASE.save(tmp_path / "sound.png", icc_profile=linear_rgb_profile())
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(linear_rgb_profile()))
    (tmp_path / "profile.png").write_bytes(png(profile, damaged))
    expected = open_pixels(tmp_path / "sound.png")
    assert (expected != np.asarray(BASE)).any()
    np.testing.assert_array_equal(open_pixels(tmp_path / "profile.png"), expected)

    exif = Image.Exif()
    exif[0x0112] = 6
    content = jpeg((0xE1, exif.tobytes()), (0xEE, b"Adobe"))
    (tmp_path / "turned.jpg").write_bytes(content)
    assert image_size(tmp_path / "turned.jpg") == BASE.size[::-1]
    assert open_rgb(tmp_path / "turned.jpg").size == BASE.size[::-1]


def test_damaged_pixels_stay_refused_whatever_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    content = png(chunk(b"gAMA", b"\0"))
    path.write_bytes(content[: len(content) * 2 // 3])
    assert image_header(path).format == "PNG"
    with pytest.raises(Diffusion4kError, match=r"cut\.png: damaged or truncated"):
        open_rgb(path)
    wrong = bytearray(encoded("PNG"))
    wrong[wrong.index(b"IDAT") + 20] ^= 1
    path.write_bytes(wrong)
    with pytest.raises(Diffusion4kError, match=r"cut\.png: damaged or truncated"):
        open_rgb(path)
