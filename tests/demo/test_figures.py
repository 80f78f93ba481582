"""Pictures of the report."""

import base64
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.demo.figures import crop_uri, reduced_uri
from diffusion4k.training.watch.loss_figure import loss_curve


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (640, 1280, 3), np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def decoded(uri: str) -> Image.Image:
    head, body = uri.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_reduced_and_cropped_sizes(picture: Path) -> None:
    assert decoded(reduced_uri(picture, 400)).size == (400, 200)
    assert decoded(crop_uri(picture, (10, 20, 110, 90))).size == (100, 70)


def test_loss_curve_is_one_svg() -> None:
    svg = loss_curve([(1, 0.5), (2, 0.4)], [(0, 0.6), (2, 0.3)])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
