"""The low sub-band against PyWavelets; guidance of predictions against that of clean latents."""

import numpy as np
import pytest
import pywt
import torch

from diffusion4k.families.spatial import NoiseLevel, SpatialCall
from diffusion4k.sampling.wavelet_guidance import WaveletGuidance, low_band


@pytest.mark.parametrize("wavelet", ["haar", "db2", "bior4.4"])
@pytest.mark.parametrize("size", [(16, 24), (13, 22), (2, 3)])
@pytest.mark.parametrize("levels", [1, 2])
def test_the_low_band_is_pywavelets(wavelet: str, size: tuple[int, int], levels: int) -> None:
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    step = 2**levels
    length = pywt.Wavelet(wavelet).dec_len
    margin = step * (length - 1) if length > 2 else 0
    pads = [(margin, margin + -side % step) for side in size]
    expected = np.empty(x.shape)
    for channel in range(2):
        padded = np.pad(x[0, channel].numpy(), pads, mode="edge")
        low, *details = pywt.wavedec2(padded, wavelet, mode="periodization", level=levels)
        empty = [tuple(np.zeros_like(band) for band in level) for level in details]
        whole = pywt.waverec2([low, *empty], wavelet, mode="periodization")
        expected[0, channel] = whole[margin : margin + size[0], margin : margin + size[1]]
    found = low_band(x, levels, wavelet)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4", "bior4.4", "sym8"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_an_edge_does_not_see_the_opposite_one(wavelet: str, levels: int) -> None:
    x = torch.randn(1, 1, 256, 16, dtype=torch.float64)
    other = x.clone()
    other[:, :, 192:] += 5
    same = (low_band(x, levels, wavelet) - low_band(other, levels, wavelet))[:, :, :64]
    assert same.abs().max() < 1e-9


def test_haar_s_low_band_is_the_mean_of_blocks() -> None:
    x = torch.randn(1, 3, 8, 16)
    mean = torch.nn.functional.avg_pool2d(x, 4)
    expected = mean.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(low_band(x, 2), expected)
    assert torch.equal(low_band(x, 0), x)


def _call(latents: torch.Tensor, sigma: float) -> SpatialCall:
    level = NoiseLevel.flow(torch.full((len(latents),), sigma))
    return SpatialCall(latents, level, lambda z, _: z, lambda v: v)


def test_the_clean_latents_get_the_reference_s_low_band() -> None:
    latents, velocity, reference = torch.randn(3, 1, 4, 8, 8)
    guidance = WaveletGuidance(reference, 1, wavelet="haar", weight=0.7, falling=False)
    clean = latents - 0.6 * velocity
    guided = latents - 0.6 * guidance(_call(latents, 0.6), velocity)
    expected = clean + 0.7 * low_band(reference - clean, 1)
    torch.testing.assert_close(guided, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("falling", [False, True])
def test_the_weight_falls_with_sigma_or_stays(falling: bool) -> None:
    latents, velocity, reference = torch.randn(3, 1, 4, 8, 8)
    guidance = WaveletGuidance(reference, 0, wavelet="haar", weight=1.0, falling=falling)
    for sigma, share in ((0.8, 1.0), (0.4, 0.5), (0.04, 0.05)):
        clean = latents - sigma * velocity
        guided = latents - sigma * guidance(_call(latents, sigma), velocity)
        weight = share if falling else 1.0
        expected = clean + weight * (reference - clean)
        torch.testing.assert_close(guided, expected, rtol=0, atol=1e-5)


def test_it_is_exact_under_classifier_free_guidance() -> None:
    """Of both predictions before they are combined, in one batch or two calls, or after it."""
    latents, negative, positive = torch.randn(3, 1, 4, 10, 14)
    reference = torch.randn(1, 4, 10, 14)
    guidance = WaveletGuidance(reference, 1, wavelet="db2", weight=0.8, falling=True)
    both = guidance(_call(torch.cat([latents] * 2), 0.5), torch.cat([negative, positive]))
    apart = [guidance(_call(latents, 0.5), velocity) for velocity in (negative, positive)]
    after = guidance(_call(latents, 0.5), negative + 5 * (positive - negative))
    for first, second in (both.chunk(2), apart):
        combined = first + 5 * (second - first)
        torch.testing.assert_close(combined, after, rtol=0, atol=1e-4)


def test_a_predicted_variance_stays() -> None:
    latents, reference = torch.randn(2, 1, 4, 8, 8)
    predicted = torch.randn(1, 8, 8, 8)
    guidance = WaveletGuidance(reference, 1, wavelet="haar", weight=1.0, falling=False)
    found = guidance(_call(latents, 0.5), predicted)
    assert torch.equal(found[:, 4:], predicted[:, 4:])
    assert not torch.equal(found[:, :4], predicted[:, :4])
