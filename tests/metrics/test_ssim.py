"""SSIM, PSNR and NMSE beside scikit-image and NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffusion4k.errors import UsageError
from diffusion4k.metrics import ssim as module
from diffusion4k.metrics.fidelity import nmse, psnr
from diffusion4k.metrics.ssim import ssim


def pair(height: int, width: int, noise: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    smooth = np.add.outer(np.arange(height), np.arange(width))[..., None] % 256
    a = (smooth + generator.integers(0, 60, (height, width, 3))).clip(0, 255)
    b = (a + generator.integers(-noise, noise + 1, a.shape)).clip(0, 255)
    return a.astype(np.uint8), b.astype(np.uint8)


@settings(max_examples=25)
@given(
    height=st.integers(11, 70),
    width=st.integers(11, 70),
    noise=st.integers(0, 80),
    rows=st.integers(1, 40),
)
def test_ssim_is_scikit_images(height: int, width: int, noise: int, rows: int) -> None:
    a, b = pair(height, width, noise)
    expected = structural_similarity(
        a,
        b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS", rows)
        assert ssim(a, b) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25)
@given(noise=st.integers(1, 255), seed=st.integers(0, 99))
def test_psnr_and_nmse(noise: int, seed: int) -> None:
    a, b = pair(13, 17, noise, seed)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), rel=1e-12)
    x, y = a.astype(float), b.astype(float)
    assert nmse(a, b) == pytest.approx(((x - y) ** 2).sum() / (y**2).sum(), rel=1e-12)


def test_equal_images() -> None:
    a, _ = pair(20, 20, 0)
    assert ssim(a, a) == pytest.approx(1)
    assert psnr(a, a) == math.inf
    assert nmse(a, a) == 0


def test_sizes_that_differ_or_are_too_small_are_refused() -> None:
    a, _ = pair(20, 20, 0)
    for metric in (ssim, psnr, nmse):
        with pytest.raises(UsageError):
            metric(a, a[:15])
    with pytest.raises(UsageError, match="11x11"):
        ssim(a[:10], a[:10])
