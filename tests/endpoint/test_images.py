"""What is sent of a picture."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.endpoint.images import image_part, sent_size
from diffusion4k.endpoint.settings import ImageSettings


def decoded(part: dict) -> Image.Image:
    kind, _, content = part["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ((6000, 4000), (1536, 1024)),
        ((4000, 6000), (1024, 1536)),
        ((800, 600), (800, 600)),
        ((30000, 10), (1536, 1)),
    ],
)
def test_size(size: tuple[int, int], sent: tuple[int, int]) -> None:
    assert sent_size(*size, 1536) == sent


def test_upright_smaller_and_without_metadata(tmp_path: Path) -> None:
    # Red above blue once it is upright: it lies on its side in the file.
    pixels = np.zeros((400, 800, 3), np.uint8)
    pixels[:, :400], pixels[:, 400:] = (0, 0, 255), (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 8  # to be turned a quarter to the left
    exif[0x010E] = "private"
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    part = image_part(path, (100, 200), ImageSettings(longest=200, detail="low"))
    image = decoded(part)
    assert image.size == (100, 200) and image.format == "JPEG" and image.mode == "RGB"
    assert part["image_url"]["detail"] == "low"
    assert not image.getexif() and "icc_profile" not in image.info
    top, bottom = np.asarray(image)[20, 50], np.asarray(image)[180, 50]
    assert top[0] > 240 and top[2] < 15 and bottom[2] > 240 and bottom[0] < 15


def test_quality_is_as_set(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    Image.fromarray(noise).save(path)
    sizes = [
        len(image_part(path, (128, 128), ImageSettings(quality=q))["image_url"]["url"])
        for q in (30, 90)
    ]
    assert sizes[0] < sizes[1] / 2
