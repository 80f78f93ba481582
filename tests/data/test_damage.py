"""Pictures of which a part never arrived, though decoders do not say so."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.data.images import open_pixels, open_rgb
from diffusion4k.errors import Diffusion4kError

NOISE = np.random.default_rng(1).integers(0, 255, (160, 240, 3), dtype=np.uint8)
END = b"\xff\xd9"


def encoded(image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, image_format, **options)
    return buffer.getvalue()


def half_zeros(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes(len(content) - half)


def half_and_end(content: bytes) -> bytes:
    return content[: len(content) // 2] + END


def hole(content: bytes) -> bytes:
    third = len(content) // 3
    return content[:third] + bytes(4096) + content[third + 4096 :]


EXIF = Image.Exif()
EXIF[0x0112] = 6


@pytest.mark.parametrize("damage", [half_zeros, half_and_end, hole])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 95},
        {"quality": 95, "progressive": True},
        {"quality": 95, "exif": EXIF},
        {"quality": 95, "icc_profile": b"no profile" * 20},
    ],
)
def test_jpeg(tmp_path: Path, damage: Callable[[bytes], bytes], options: dict[str, object]) -> None:
    refuse(tmp_path / "part.jpg", damage(encoded("JPEG", **options)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_of_other_modes(tmp_path: Path, mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(buffer, "JPEG", quality=95)
    refuse(tmp_path / "part.jpg", half_and_end(buffer.getvalue()))


@pytest.mark.parametrize("damage", [half_zeros, hole])
@pytest.mark.parametrize("image_format", ["WEBP", "AVIF"])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp_and_avif(
    tmp_path: Path, damage: Callable[[bytes], bytes], image_format: str, lossless: bool
) -> None:
    content = encoded(image_format, lossless=lossless, quality=100)
    assert len(content) > 20_000
    refuse(tmp_path / f"part.{image_format.lower()}", damage(content))


@pytest.mark.parametrize(
    "padding",
    [b"\0" * 5000, b"\xff" * 300, b"\x12\x34\x56"],
    ids=["zeros", "ones", "a few bytes"],
)
def test_padding_before_the_end_of_a_jpeg_is_no_damage(tmp_path: Path, padding: bytes) -> None:
    path = tmp_path / "padded.jpg"
    content = encoded("JPEG", quality=95)
    path.write_bytes(content[:-2] + padding + END)
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(open_pixels(path), expected)
    path.write_bytes(content + b"a film behind the picture")
    np.testing.assert_array_equal(open_pixels(path), expected)


@pytest.mark.parametrize("image_format", ["WEBP", "AVIF", "JPEG"])
def test_pictures_in_one_colour_are_whole(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / "flat"
    for colour in ("black", "white"):
        Image.new("RGB", (2048, 1024), colour).save(
            path, image_format, lossless=True, optimize=True
        )
        assert open_rgb(path).size == (2048, 1024)


def refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for read in (open_rgb, open_pixels, lambda path: open_rgb(path, at_least=(60, 40))):
        with pytest.raises(Diffusion4kError, match=r"part\.\w+: damaged or truncated"):
            read(path)
