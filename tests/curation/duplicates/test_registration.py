"""Laying thumbnails over each other: pictures whose map is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from diffusion4k.curation.duplicates.registration import Registered, correlation


def texture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(size=(320, 320))
    clouds = gaussian_filter(noise, 4) * 500 + gaussian_filter(noise, 15) * 900
    return Image.fromarray((128 + clouds).clip(0, 255).astype(np.uint8))


def part(image: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Registered:
    return Registered(np.asarray(image.crop(box).resize(size, Image.Resampling.BICUBIC)))


def place(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


WHOLE = (0, 0, 320, 320)


@pytest.mark.parametrize("off", [(0, 0, 0, 0), (2, -2, 0, 0), (-3, 2, 3, -2)])
def test_a_crop_is_aligned_from_near_its_place(off: tuple[int, int, int, int]) -> None:
    whole = part(texture(0), WHOLE, (160, 160))
    crop = part(texture(0), (40, 60, 280, 280), (168, 154))
    # The crop's middle half, seen in the whole and in the crop.
    found = correlation(whole, crop, place(80, 85, 30, 27.5), place(84, 77, 42, 38.5) + off)
    assert found > 0.98


def test_gain_and_offset_do_not_matter() -> None:
    image = texture(1)
    other = image.point(lambda value: value * 0.7 + 20)
    middle = place(80, 80, 80, 80)
    a, b = (part(each, WHOLE, (160, 160)) for each in (image, other))
    assert correlation(a, b, middle, middle) > 0.99


def test_the_mirror_image_is_registered_as_such() -> None:
    image = texture(2)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    middle = place(80, 80, 80, 80)
    a, b = (part(each, WHOLE, (160, 160)) for each in (image, mirrored))
    assert correlation(a, b.mirrored(), middle, middle) > 0.99
    assert abs(correlation(a, b, middle, middle)) < 0.5


@pytest.mark.parametrize("seed", range(3, 9))
def test_other_pictures_do_not_correlate(seed: int) -> None:
    middle = place(80, 80, 80, 80)
    a, b = (part(texture(number), WHOLE, (160, 160)) for number in (seed, 0))
    assert correlation(a, b, middle, middle) < 0.6


def test_too_little_in_common_is_no() -> None:
    a, b = part(texture(0), (0, 0, 160, 320), (113, 226)), part(texture(0), WHOLE, (160, 160))
    assert correlation(a, b, place(56, 113, 56, 113), place(40, 80, 40, 80)) > 0.98
    # Only the left quarter of `b` and the right quarter of `a` would lie over each other.
    assert correlation(a, b, place(100, 113, 20, 20), place(10, 80, 14, 14)) == 0


def test_without_detail_is_no() -> None:
    y, x = np.mgrid[:160, :160]
    gradient = Registered((40 + 0.5 * x + 0.3 * y).astype(np.uint8))
    middle = place(80, 80, 80, 80)
    assert correlation(gradient, gradient, middle, middle) == 0
