"""What the judge is shown: the same places of both images, at native size, with detail in both."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.preference.judge.image_parts import ImageParts, busiest_places, patch_side
from diffusion4k.preference.judge.prompt import JudgeSettings


def picture(width: int, height: int, noisy: list[tuple[int, int, int]]) -> Image.Image:
    """Grey, but for squares of noise: left, top, side."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    for left, top, side in noisy:
        noise = np.random.default_rng(left).integers(0, 256, (side, side, 1), np.uint8)
        pixels[top : top + side, left : left + side] = noise
    return Image.fromarray(pixels)


def test_places_have_detail_in_both() -> None:
    first = picture(512, 384, [(0, 0, 128), (256, 128, 128)])
    second = picture(512, 384, [(384, 256, 128), (256, 128, 128)])
    [best, *_] = busiest_places(first, second, 128, 3)
    assert best == pytest.approx(((256 + 64) / 512, (128 + 64) / 384))
    # Neither model chooses: the order makes no difference.
    assert busiest_places(second, first, 128, 5) == busiest_places(first, second, 128, 5)


def test_of_unequal_sizes_the_places_are_equal_as_fractions() -> None:
    first = picture(512, 512, [(384, 384, 128)])
    second = picture(1024, 1024, [(768, 768, 256)])
    [(x, y)] = busiest_places(first, second, 128, 1)
    assert x == y == pytest.approx(0.875)
    assert patch_side((3840, 2160), (4096, 4096), 768) == 768
    assert patch_side((500, 400), (4096, 4096), 768) == 400


def test_patches_are_the_images_own_pixels(tmp_path: Path) -> None:
    first = picture(512, 384, [(256, 128, 128)])
    second = picture(512, 384, [(256, 128, 128), (0, 0, 64)])
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for image, path in zip((first, second), paths, strict=True):
        image.save(path)
    settings = JudgeSettings.model_validate(
        {"patches": 2, "patch_side": 128, "image": {"quality": 95, "longest": 256}}
    )
    shown = ImageParts(settings)
    whole, patch = (
        [np.asarray(opened(part), np.int16) for part in shown.parts(paths, number)]
        for number in (0, 1)
    )
    assert whole[0].shape == (192, 256, 3)
    for image, cut in zip((first, second), patch, strict=True):
        own = np.asarray(image, np.int16)[128:256, 256:384]
        assert np.abs(cut - own).mean() < 3  # what a JPEG of quality 95 leaves of noise


def opened(part: dict[str, dict[str, str]]) -> Image.Image:
    content = part["image_url"]["url"].partition(",")[2]
    return Image.open(io.BytesIO(base64.b64decode(content)))
