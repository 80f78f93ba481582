"""Turned and deep pictures: what the header says is what is read, in every mode of a TIFF."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.data.images import image_size, open_pixels
from tests.data.fake import picture
from tests.data.test_images import STORED

BASE = picture((40, 28))
DEEP = (np.arange(28 * 40).reshape(28, 40) * 58).astype(np.uint16)
ORIENTATION, PHOTOMETRIC = 274, 262


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I;16B"])
def test_turned_tiff(tmp_path: Path, mode: str, compression: str | None, orientation: int) -> None:
    upright = Image.fromarray(DEEP) if mode.startswith("I;16") else BASE.convert(mode)
    stored = upright.transpose(STORED[orientation])
    if mode == "I;16B":
        stored = Image.frombytes("I;16B", stored.size, np.asarray(stored).astype(">u2").tobytes())
    path = tmp_path / "a.tif"
    stored.save(path, tiffinfo={ORIENTATION: orientation}, compression=compression)
    assert image_size(path) == BASE.size
    found = open_pixels(path)
    if mode.startswith("I;16"):
        np.testing.assert_allclose(found[..., 0], DEEP / 257, atol=0.5)
    else:
        np.testing.assert_array_equal(found, np.asarray(on_white(upright)))


def on_white(image: Image.Image) -> Image.Image:
    if "A" not in image.getbands():
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def test_sixteen_bits_of_a_pgm(tmp_path: Path) -> None:
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P5 40 28 65535\n" + DEEP.astype(">u2").tobytes())
    np.testing.assert_allclose(open_pixels(path)[..., 0], DEEP / 257, atol=0.5)


def test_sixteen_bits_of_jpeg_2000(tmp_path: Path) -> None:
    path = tmp_path / "deep.jp2"
    Image.fromarray(DEEP).save(path)
    np.testing.assert_allclose(open_pixels(path)[..., 0], DEEP / 257, atol=0.5)


def test_sixteen_bits_where_white_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "inverted.tif"
    Image.fromarray(65535 - DEEP).save(path, tiffinfo={PHOTOMETRIC: 0})
    with Image.open(path) as image:
        assert image.tag_v2[PHOTOMETRIC] == 0
    np.testing.assert_allclose(open_pixels(path)[..., 0], DEEP / 257, atol=0.5)


def test_a_transparent_grey_of_sixteen_bits(tmp_path: Path) -> None:
    path = tmp_path / "hole.png"
    Image.fromarray(DEEP).save(path, transparency=int(DEEP[0, 1]))
    found = open_pixels(path)[..., 0]
    assert found[0, 1] == 255
    assert found[0, 0] == 0
