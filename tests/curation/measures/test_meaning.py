"""What the values say: pictures with a known defect of a known size get that very value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import fft, ndimage

from diffusion4k.curation.measures import measure
from diffusion4k.curation.measures.spectrum import pooled_spectrum
from tests.curation.measures.reference import jpeg, photograph, textured


@settings(max_examples=15)
@given(quality=st.integers(8, 70), again=st.sampled_from([None, 90, 95]))
def test_the_quality_is_traced_through_another_save(quality: int, again: int | None) -> None:
    pixels = jpeg(photograph(560, 560), quality)
    if again:
        pixels = jpeg(pixels, again)
    traced = measure(pixels, only=["traced_quality"])["traced_quality"]
    # Steps are whole numbers: at high qualities one more or less is some percent.
    assert traced == pytest.approx(quality, abs=max(2, quality / 12))


@settings(max_examples=10)
@given(quality=st.integers(8, 25), top=st.integers(0, 7), left=st.integers(0, 7))
def test_the_quality_is_traced_wherever_the_grid_begins(quality: int, top: int, left: int) -> None:
    cropped = jpeg(jpeg(photograph(560, 560), quality)[top:, left:], 95)
    traced = measure(cropped, only=["traced_quality"])["traced_quality"]
    assert traced == pytest.approx(quality, abs=2)


def test_what_was_resized_bears_no_trace() -> None:
    small = Image.fromarray(jpeg(photograph(560, 560), 20)).resize((401, 401))
    assert measure(np.asarray(small), only=["traced_quality"])["traced_quality"] == 100


@pytest.mark.parametrize("sigma", [2, 5, 12, 25])
def test_noise_is_its_standard_deviation(sigma: float) -> None:
    random = np.random.default_rng(0).normal(0, sigma, (512, 512))
    pixels = np.rint(np.clip(120 + random, 0, 255)).astype(np.uint8)
    found = measure(np.repeat(pixels[..., None], 3, axis=2), only=["noise"])["noise"]
    # The lowest tenth of the tiles is some percent below the mean.
    assert 0.88 * sigma < found < 1.01 * sigma


@pytest.mark.parametrize("limit", [0.1, 0.2, 0.3, 0.4])
def test_the_cutoff_is_where_the_spectrum_ends(limit: float) -> None:
    grey = textured(768, 768, strength=30)[..., 0].astype(float)
    y, x = np.meshgrid(fft.fftfreq(768), fft.fftfreq(768), indexing="ij")
    transformed = fft.fft2(grey) * (np.hypot(y, x) <= limit)
    pixels = np.rint(fft.ifft2(transformed).real.clip(0, 255)).astype(np.uint8)
    rgb = np.repeat(pixels[..., None], 3, axis=2)
    found = measure(rgb, only=["spectral_cutoff"])["spectral_cutoff"]
    # 95% of an even spread of the gradient's energy lies below 0.95 of the limit.
    assert 0.9 * limit < found < 1.05 * limit


@pytest.mark.parametrize(("down", "across"), [(0, 32), (32, 0), (20, 20), (-20, 20), (5, 90)])
def test_a_wave_is_found_at_its_frequency_and_direction(down: int, across: int) -> None:
    y, x = np.mgrid[:512, :512] / 256
    wave = 128 + 60 * np.cos(2 * np.pi * (down * y + across * x))
    spectrum = pooled_spectrum(np.rint(wave).astype(np.uint8), 0.0)
    assert spectrum is not None
    ring = round(np.hypot(down, across))
    assert abs(int(spectrum.rings.argmax()) - ring) <= 1
    direction = round((np.arctan2(down, across) / np.pi + 0.5) * 16) % 16
    assert spectrum.energy.sum(axis=0).argmax() == direction
    # A cosine of amplitude 60 has variance 1800, before it is rounded to whole grey values.
    assert spectrum.rings.sum() == pytest.approx(1800, rel=0.02)


def test_white_noise_is_taken_off_whole() -> None:
    grey = np.random.default_rng(0).normal(128, 20, (768, 768)).clip(0, 255).astype(np.uint8)
    with_noise, without = (pooled_spectrum(grey, sigma) for sigma in (0.0, 20.0))
    assert with_noise is not None and without is not None
    share = np.pi / 4  # of the plane that lies inside the rings
    assert with_noise.rings.sum() == pytest.approx(400 * share, rel=0.05)
    assert without.rings.sum() < 0.2 * with_noise.rings.sum()


@settings(max_examples=40)
@given(
    sides=st.tuples(*[st.integers(0, 60)] * 4),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    quality=st.sampled_from([None, 95]),
)
def test_borders_have_the_width_that_was_painted(
    sides: tuple[int, int, int, int], colour: tuple[int, int, int], quality: int | None
) -> None:
    pixels = photograph(300, 320)
    if np.abs(pixels.astype(int) - colour).max(axis=2).mean() < 60:
        colour = (255, 255, 255)
    top, bottom, left, right = sides
    inside = np.s_[top : 300 - bottom, left : 320 - right]
    painted = np.empty_like(pixels)
    painted[:] = np.array(colour, np.uint8)
    painted[inside] = pixels[inside]
    names = ["border_top", "border_bottom", "border_left", "border_right"]
    copy = jpeg(painted, quality) if quality else painted
    values = measure(copy, only=names)
    for name, width, length in zip(names, sides, (300, 300, 320, 320), strict=True):
        found = values[name] * length
        if quality is None:
            assert found == pytest.approx(width)
        elif width > 16:
            # A JPEG rings into the border, up to the end of the block.
            assert width - 9 <= found <= width


def test_a_dark_sky_that_brightens_is_no_border() -> None:
    pixels = photograph(400, 400).astype(float)
    pixels *= np.clip((np.arange(400) - 60) / 200, 0, 1)[:, None, None]
    assert measure(pixels.astype(np.uint8), only=["border"])["border"] == 0


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_repeated_pixels_are_found_also_after_a_jpeg(factor: int) -> None:
    small = photograph(560 // factor, 560 // factor)
    repeated = jpeg(small.repeat(factor, axis=0).repeat(factor, axis=1), 95)
    name = ["pixel_repetition"]
    assert measure(repeated, only=name)["pixel_repetition"] > 0.6
    assert measure(jpeg(photograph(560, 560), 95), only=name)["pixel_repetition"] < 0.15


def test_blur_and_shake_make_the_values_fall_and_rise() -> None:
    sharp = photograph(560, 600)
    names = ["detail_fall", "spectral_slope", "laplacian_variance"]
    names += ["motion_blur", "edge_anisotropy"]
    values = [
        measure(ndimage.gaussian_filter(sharp, (sigma, sigma, 0)), only=names)
        for sigma in (0, 1, 1.5, 2, 3)
    ]
    for name in ("spectral_slope", "laplacian_variance"):
        series = [value[name] for value in values]
        assert series == sorted(series, reverse=True), name
    # Where rounding begins, the fall ends: it need not grow with the blur.
    assert all(value["detail_fall"] < values[0]["detail_fall"] - 0.7 for value in values[2:])
    shaken = measure(ndimage.uniform_filter1d(sharp, 15, axis=1), only=names)
    assert shaken["motion_blur"] > 2 * values[0]["motion_blur"]
    assert shaken["edge_anisotropy"] > 2 * max(value["edge_anisotropy"] for value in values)
