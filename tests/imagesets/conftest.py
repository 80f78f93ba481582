"""Folders of small images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Smooth shades under noise: no two places look alike."""
    rng = np.random.default_rng(seed)
    shades = Image.fromarray(rng.integers(40, 200, (6, 6, 3), np.uint8)).resize((width, height))
    noise = rng.integers(0, 56, (height, width, 3), np.uint8)
    return Image.fromarray(np.asarray(shades) + noise)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make an image folder: name, then `file=(width, height)` with `_` for the dot."""

    def make(name: str, seed: int = 0, **sizes: tuple[int, int]) -> Path:
        place = tmp_path / name
        place.mkdir()
        for number, (file, size) in enumerate(sizes.items()):
            image = picture(*size, seed * 100 + number)
            image.save(place / file.replace("_", "."), quality=95)
        return place

    return make
