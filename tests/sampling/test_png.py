"""Files of `PngWriter` are read by Pillow, pixel for pixel, however the rows came."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.sampling.png import PngWriter


@settings(max_examples=60)
@given(
    width=st.integers(1, 40),
    parts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    smooth=st.booleans(),
    text=st.text(st.characters(blacklist_categories=("Cs",), min_codepoint=1), max_size=50),
)
def test_pillow_reads_every_pixel_and_text(width, parts, smooth, text) -> None:
    height = sum(parts)
    generator = np.random.default_rng(width)
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if smooth:
        image[:] = np.arange(height, dtype=np.uint8)[:, None, None]
    file = io.BytesIO()
    with PngWriter(file, width, height, {"key": text, "other": "x"}) as png:
        top = 0
        for rows in parts:
            png.write(image[top : top + rows])
            top += rows
    found = Image.open(file)
    assert np.array_equal(np.asarray(found), image)
    assert found.info == {"key": text, "other": "x"}


def test_many_chunks_and_strided_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion4k.sampling.png._CHUNK", 1000)
    image = np.random.default_rng(0).integers(0, 256, (3, 100, 333), dtype=np.uint8)
    image = image.transpose(1, 2, 0)
    file = io.BytesIO()
    with PngWriter(file, 333, 100) as png:
        png.write(image)
    Image.open(file).verify()
    assert np.array_equal(np.asarray(Image.open(file)), image)


def test_rows_that_do_not_fit_are_refused() -> None:
    rows = np.zeros((2, 4, 3), np.uint8)
    for wrong in (rows[:, :3], rows.astype(np.int16), np.zeros((9, 4, 3), np.uint8)):
        with pytest.raises(ValueError), PngWriter(io.BytesIO(), 4, 8) as png:
            png.write(wrong)
    with pytest.raises(ValueError, match="2 rows of 8"), PngWriter(io.BytesIO(), 4, 8) as png:
        png.write(rows)
