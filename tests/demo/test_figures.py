"""Pictures of the report."""

import base64
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.demo.figures import busiest_places, crop_uri, loss_curve, reduced_uri


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Flat but for two squares of noise."""
    pixels = np.full((640, 1280, 3), 128, np.uint8)
    generator = np.random.default_rng(0)
    for top, left in ((128, 256), (320, 960)):
        noise = generator.integers(0, 256, (256, 256, 3), np.uint8)
        pixels[top : top + 256, left : left + 256] = noise
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def decoded(uri: str) -> Image.Image:
    head, body = uri.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_busiest_places_are_the_noisy_squares(picture: Path) -> None:
    assert set(busiest_places(picture, 256)) == {(256, 128, 512, 384), (960, 320, 1216, 576)}


def test_places_do_not_overlap_and_may_be_few(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.new("RGB", (128, 128)).save(path)
    assert busiest_places(path, 512) == [(0, 0, 128, 128)]


def test_reduced_and_cropped_sizes(picture: Path) -> None:
    assert decoded(reduced_uri(picture, 400)).size == (400, 200)
    assert decoded(crop_uri(picture, (10, 20, 110, 90))).size == (100, 70)


def test_loss_curve_is_one_svg() -> None:
    svg = loss_curve([(1, 0.5), (2, 0.4)], [(0, 0.6), (2, 0.3)])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
