"""Fast decoding against Pillow: the same pixels to the bit, the same refusals."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from diffusion4k.data.images import open_pixels, open_rgb
from diffusion4k.data.jpeg import decode_jpeg
from diffusion4k.errors import Diffusion4kError
from tests.data.fake import picture

IN_FOLDER = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


def textured(width: int, height: int, seed: int = 0) -> Image.Image:
    smooth = np.asarray(picture((width, height), seed), float)
    noise = np.random.default_rng(seed).normal(0, 20, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@IN_FOLDER
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "4:1:1"]),
    progressive=st.booleans(),
    grey=st.booleans(),
    keep_rgb=st.booleans(),
    restart=st.integers(0, 3),
)
def test_pixels_are_pillows(
    tmp_path: Path,
    size: tuple[int, int],
    quality: int,
    subsampling: str,
    progressive: bool,
    grey: bool,
    keep_rgb: bool,
    restart: int,
) -> None:
    image = textured(*size, seed=quality).convert("L" if grey else "RGB")
    options = {"quality": quality, "progressive": progressive, "restart_marker_blocks": restart}
    if not grey:
        options |= {"keep_rgb": keep_rgb}
        options |= {"subsampling": "4:4:4" if keep_rgb else subsampling}
    content = encoded(image, **options)
    (tmp_path / "a.jpg").write_bytes(content)
    expected = Image.open(io.BytesIO(content))
    decoded = decode_jpeg(content, image.mode, image.size)
    assert decoded is not None
    np.testing.assert_array_equal(decoded, np.asarray(expected))
    rgb = np.asarray(expected.convert("RGB"))
    np.testing.assert_array_equal(open_pixels(tmp_path / "a.jpg"), rgb)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("least", [(300, 200), (150, 100), (80, 50), (31, 20), (1, 1)])
def test_smaller_sizes_are_pillows(tmp_path: Path, mode: str, least: tuple[int, int]) -> None:
    content = encoded(textured(301, 203).convert(mode), quality=95)
    (tmp_path / "a.jpg").write_bytes(content)
    expected = Image.open(io.BytesIO(content))
    expected.draft(None, least)
    found = open_rgb(tmp_path / "a.jpg", at_least=least)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 77])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_turned_and_printed_pictures(tmp_path: Path, orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(textured(90, 60).convert(mode), exif=exif))
    np.testing.assert_array_equal(open_pixels(path), np.asarray(open_rgb(path)))


def test_colour_profiles_are_applied(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for content in (profile, other, b"no profile" * 30):
        path = tmp_path / "a.jpg"
        path.write_bytes(encoded(textured(90, 60), icc_profile=content))
        np.testing.assert_array_equal(open_pixels(path), np.asarray(open_rgb(path)))


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "gif"])
def test_other_formats_are_left_to_pillow(tmp_path: Path, suffix: str) -> None:
    textured(90, 60).save(tmp_path / f"a.{suffix}")
    path = tmp_path / f"a.{suffix}"
    np.testing.assert_array_equal(open_pixels(path), np.asarray(open_rgb(path)))


def test_a_picture_of_several_frames_gives_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    second = textured(90, 60, 1)
    textured(90, 60).save(path, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(open_pixels(path), np.asarray(open_rgb(path)))


@IN_FOLDER
@given(share=st.floats(0, 0.99), progressive=st.booleans(), grey=st.booleans())
def test_truncated_files_are_refused_alike(
    tmp_path: Path, share: float, progressive: bool, grey: bool
) -> None:
    content = encoded(textured(70, 50).convert("L" if grey else "RGB"), progressive=progressive)
    check_alike(tmp_path / "a.jpg", content[: int(share * len(content))])


@IN_FOLDER
@given(data=st.data(), progressive=st.booleans())
def test_damaged_files_are_judged_alike(
    tmp_path: Path, data: st.DataObject, progressive: bool
) -> None:
    content = bytearray(encoded(textured(48, 40), progressive=progressive))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    check_alike(tmp_path / "a.jpg", bytes(content))


def check_alike(path: Path, content: bytes) -> None:
    """The same pixels from both, or the same line."""
    path.write_bytes(content)
    try:
        expected = np.asarray(open_rgb(path))
    except Diffusion4kError as error:
        with pytest.raises(Diffusion4kError) as other:
            open_pixels(path)
        assert str(other.value) == str(error)
    else:
        np.testing.assert_array_equal(open_pixels(path), expected)
