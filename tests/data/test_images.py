"""Ugly files of every kind, written by Pillow and judged against what is known of them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from diffusion4k.data.images import image_size, open_rgb
from diffusion4k.errors import Diffusion4kError
from tests.data.fake import picture

BASE = picture((90, 60))
# What a camera stores for each orientation so that the upright picture is BASE.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def difference(image: Image.Image, other: Image.Image = BASE) -> float:
    assert image.mode == "RGB"
    assert image.size == other.size
    return float(np.abs(np.asarray(image, float) - np.asarray(other, float)).mean())


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("suffix", "most"), [("jpg", 3), ("png", 0), ("webp", 0), ("tif", 0), ("avif", 3)]
)
def test_orientation_is_applied(tmp_path: Path, suffix: str, most: float, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    BASE.transpose(STORED[orientation]).save(path, exif=exif, lossless=True, quality=95)
    assert difference(open_rgb(path)) <= most
    assert image_size(path) == BASE.size


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 90 * 60).astype(np.uint16).reshape(60, 90)
    for suffix in ("png", "tif"):
        path = tmp_path / f"deep.{suffix}"
        Image.fromarray(values).save(path)
        grey = np.asarray(open_rgb(path), float)
        np.testing.assert_allclose(grey[..., 0], values / 257, atol=0.5)
        assert (grey[..., 0] == grey[..., 2]).all()


def test_thirty_two_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(Diffusion4kError, match=r"float\.tif: .*32 bits"):
        open_rgb(tmp_path / "float.tif")


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    stored = BASE.convert(mode)
    stored.save(path, quality=100)
    assert difference(open_rgb(path), stored.convert("RGB")) <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    colour = BASE.convert("L") if mode == "LA" else BASE
    alpha = np.linspace(0, 255, 90 * 60).astype(np.uint8).reshape(60, 90)
    path = tmp_path / "photo.png"
    if mode == "P":
        stored = Image.new("P", (64, 64), 0)
        stored.putpalette([10, 20, 30, 200, 100, 50])
        stored.save(path, transparency=0)
        assert np.asarray(open_rgb(path)).min() == 255
        return
    stored = colour.copy()
    stored.putalpha(Image.fromarray(alpha))
    stored.save(path)
    opacity = alpha[..., None] / 255
    expected = np.asarray(colour.convert("RGB"), float) * opacity + 255 * (1 - opacity)
    np.testing.assert_allclose(np.asarray(open_rgb(path), float), expected, atol=1)


def test_a_colour_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    # A linear-light profile: the same numbers stand for other colours than in sRGB.
    profile = linear_rgb_profile()
    BASE.save(tmp_path / "linear.png", icc_profile=profile)
    opened = open_rgb(tmp_path / "linear.png")
    linear = np.asarray(BASE, float) / 255
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(np.asarray(opened, float), 255 * curve, atol=2)
    # A copy that is saved must not claim the profile that was converted away.
    copy = io.BytesIO()
    opened.save(copy, "PNG")
    assert "icc_profile" not in Image.open(copy).info


def test_an_srgb_profile_changes_nothing_and_a_broken_one_is_not_used(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("srgb", srgb), ("broken", b"no profile" * 20)):
        BASE.save(tmp_path / f"{name}.png", icc_profile=profile)
        assert difference(open_rgb(tmp_path / f"{name}.png")) == 0


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"animation.{suffix}"
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert difference(open_rgb(path), frames[0]) <= 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(Diffusion4kError, match=rf"cut\.{suffix}: .*(remove|copy)"):
        open_rgb(path)


def test_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "vector.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("empty", "empty"),
        ("text", "not an image"),
        ("vector", "not an image"),
        ("folder", "not a file"),
        ("absent", "no such file"),
    ):
        for function in (open_rgb, image_size):
            with pytest.raises(Diffusion4kError, match=rf"{name}\.jpg: {reason}"):
                function(tmp_path / f"{name}.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_of_size(40_000, 40_000))
    with pytest.raises(Diffusion4kError, match=r"bomb\.png: larger than 1 gigapixel"):
        open_rgb(tmp_path / "bomb.png")
    # Below the limit nothing is even said: it is the size of a stitched panorama.
    (tmp_path / "large.png").write_bytes(png_of_size(32_000, 32_000))
    assert image_size(tmp_path / "large.png") == (32_000, 32_000)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(["jpg", "png", "webp", "tif", "gif"]))
def test_damage_anywhere_gives_an_image_or_one_line(
    tmp_path: Path, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path / f"damaged.{suffix}"
    BASE.save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert open_rgb(path).mode == "RGB"
    except Diffusion4kError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def linear_rgb_profile() -> bytes:
    """sRGB's primaries with a straight line for a tone curve, as ICC version 4."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    for entry in range(132, 132 + 12 * count, 12):
        name, offset, _ = struct.unpack(">4sII", profile[entry : entry + 12])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + 12] = b"curv" + bytes(8)
            profile[entry + 8 : entry + 12] = struct.pack(">I", 12)
    return bytes(profile)
