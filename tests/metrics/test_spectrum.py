"""Band energies against PyWavelets, ring powers against NumPy's plain Fourier transform."""

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.spectrum import (
    band_energies,
    grey_of,
    log_distance,
    ring_powers,
)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Grey values with some of every frequency, and a flat part."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(np.cumsum(rng.normal(size=(height, width)), 0), 1)
    grey = 128 + 60 * walk / np.abs(walk).max() + rng.normal(0, 6, (height, width))
    grey[: height // 4, : width // 2] = 77
    return grey.clip(0, 255).astype(np.uint8)


@settings(max_examples=25)
@given(st.integers(32, 150), st.integers(32, 150), st.integers(0, 99))
def test_bands_equal_pywavelets(height: int, width: int, seed: int) -> None:
    grey = texture(height, width, seed)
    whole = grey[: height // 32 * 32, : width // 32 * 32].astype(float)
    levels = pywt.wavedec2(whole, "haar", mode="periodization", level=5)[:0:-1]
    expected = [[np.log2(np.square(band).mean() + 1 / 12) for band in level] for level in levels]
    np.testing.assert_allclose(band_energies(grey), expected, rtol=0, atol=1e-11)


@settings(max_examples=10)
@given(st.integers(128, 300), st.integers(128, 300), st.integers(0, 99))
def test_rings_equal_a_plain_transform(height: int, width: int, seed: int) -> None:
    grey = texture(height, width, seed).astype(float)
    line = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(128) + 0.5) / 128)
    window = np.outer(line, line)
    powers = []
    for y in range(0, height - 127, 128):
        for x in range(0, width - 127, 128):
            tile = grey[y : y + 128, x : x + 128]
            powers.append(np.abs(np.fft.fft2((tile - tile.mean()) * window)) ** 2)
    power = np.mean(powers, axis=0) / np.square(window).sum()
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    expected = [
        np.log2(power[(frequency >= n / 64) & (frequency < (n + 1) / 64)].mean() + 1 / 12)
        for n in range(32)
    ]
    np.testing.assert_allclose(ring_powers(grey.astype(np.uint8)), expected, rtol=0, atol=1e-4)


def test_white_noise_has_its_variance_everywhere() -> None:
    noise = np.random.default_rng(0).normal(128, 16, (1024, 1024)).round().clip(0, 255)
    grey = noise.astype(np.uint8)
    assert np.abs(band_energies(grey) - 8).max() < 0.25
    assert np.abs(ring_powers(grey)[1:] - 8).max() < 0.1


def test_flat_picture_has_only_the_rounding() -> None:
    flat = np.full((160, 200), 90, np.uint8)
    np.testing.assert_allclose(band_energies(flat), np.log2(1 / 12))
    np.testing.assert_allclose(ring_powers(flat), np.log2(1 / 12), atol=1e-6)


def test_distance() -> None:
    ours = [np.array([[1.0, 2, 3]], np.float32), np.array([[3.0, 2, 3]], np.float32)]
    theirs = [np.array([[0.0, 2, 7]], np.float32)]
    assert log_distance(iter(ours), iter(theirs)) == pytest.approx(np.sqrt((4 + 0 + 16) / 3))
    assert log_distance(ours, theirs, slice(0, 2)) == pytest.approx(np.sqrt(2))
    assert log_distance(ours, ours) == 0
    with pytest.raises(Diffusion4kError, match="second folder holds no pictures"):
        log_distance(ours, [])


def test_grey_of_any_image() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    red, green, blue = np.moveaxis(rgb.astype(int), -1, 0)
    expected = (red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15
    view = rgb[::-1, ::-1][::-1, ::-1]
    view.flags.writeable = False
    for image in (rgb, view, Image.fromarray(rgb)):
        np.testing.assert_array_equal(grey_of(image, 40), expected)
    with pytest.raises(Diffusion4kError, match=r"image of 50x40 is too small.*41x41"):
        grey_of(rgb, 41)
