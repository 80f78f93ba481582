"""Where there is detail: textures are found, noise and flat areas are not."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import open_rgb
from diffusion4k.metrics.glcm import glcm_map
from diffusion4k.metrics.regions import busiest_places, detail_map

FIRST, SECOND, NOISE = (256, 128), (960, 320), (640, 0)


def texture(side: int, seed: int) -> np.ndarray:
    """Noise whose spectrum falls as photographs' do: amplitude 1 / frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    shaped = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) / frequency)
    grey = np.clip(128 + 60 * shaped / shaped.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


@pytest.fixture
def picture() -> np.ndarray:
    """Flat but for two squares of texture and one of white noise."""
    pixels = np.full((640, 1280, 3), 128, np.uint8)
    for number, (left, top) in enumerate((FIRST, SECOND)):
        pixels[top : top + 256, left : left + 256] = texture(256, number)
    left, top = NOISE
    noise = np.random.default_rng(2).integers(0, 256, (256, 256, 1), np.uint8)
    pixels[top : top + 256, left : left + 256] = noise
    return pixels


def test_textures_are_chosen_and_noise_is_not(picture: np.ndarray) -> None:
    found = {box[:2] for box in busiest_places([picture], 256)}
    assert found == {FIRST, SECOND}
    scores = glcm_map(picture).score
    assert scores[1, 12] > scores[3, 5]  # by the score alone it would be
    assert detail_map(picture)[1, 12] < 0.2 * detail_map(picture)[3, 5]


def test_what_all_images_show_counts(picture: np.ndarray) -> None:
    other = np.full((320, 640, 3), 128, np.uint8)  # half as large, with the second texture alone
    left, top = (n // 2 for n in SECOND)
    other[top : top + 128, left : left + 128] = texture(128, 5)
    assert busiest_places([picture, other], 256, 1)[0][:2] == SECOND


def test_photographs_are_no_noise() -> None:
    for path in sorted(photo_folder("pocket").glob("*.jpg"))[:4]:
        image = open_rgb(path)
        for size in (image.size, (image.width // 3, image.height // 3)):
            pixels = np.asarray(image.resize(size))
            score, detail = glcm_map(pixels).score, detail_map(pixels)
            busy = score > np.quantile(score, 0.75)
            assert np.median(detail[busy] / score[busy]) > 0.5


def test_few_and_small() -> None:
    assert busiest_places([Image.new("RGB", (128, 128))], 512) == [(0, 0, 128, 128)]
    assert busiest_places([Image.new("RGB", (50, 200))], 64) == [(0, 0, 50, 200)]


@settings(max_examples=20)
@given(
    st.integers(64, 400), st.integers(64, 400), st.integers(1, 300), st.integers(1, 5)
)  # fmt: skip
def test_places_lie_inside_and_apart(width: int, height: int, side: int, count: int) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    boxes = busiest_places([np.asarray(Image.fromarray(pixels).reduce(2).resize((width, height)))],
                           side, count)  # fmt: skip
    assert 1 <= len(boxes) <= count
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert right - left == bottom - top
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
