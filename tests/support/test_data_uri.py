"""Data URIs hold the very files that Pillow reads back."""

import base64
import io

import numpy as np
from PIL import Image

from diffusion4k.support.data_uri import jpeg_uri, png_uri

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def content(uri: str, kind: str) -> bytes:
    head, text = uri.split(",")
    assert head == f"data:image/{kind};base64"
    return base64.b64decode(text, validate=True)


def test_jpeg() -> None:
    image = Image.fromarray(PIXELS)
    coarse, exact = (content(jpeg_uri(image, 95, exact_colours=e), "jpeg") for e in (False, True))
    errors = [
        np.abs(np.asarray(Image.open(io.BytesIO(c))).astype(int) - PIXELS).mean()
        for c in (coarse, exact)
    ]
    # Noise of colours does not survive 4:2:0.
    assert errors[1] < errors[0] / 4


def test_png() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    assert content(png_uri(file.getvalue()), "png") == file.getvalue()
