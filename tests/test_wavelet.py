"""The wavelet transform against PyWavelets, and its gradient against finite differences."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.wavelet import dwt2, idwt2, is_orthonormal

WAVELETS = pywt.wavelist(kind="discrete")
# PyWavelets' own inverse of the truncated Meyer filters is only approximate.
INVERTIBLE = [name for name in WAVELETS if name != "dmey"]


def by_pywavelets(x: torch.Tensor, wavelet: str) -> torch.Tensor:
    ll, details = pywt.dwt2(x.double().numpy(), wavelet, mode="periodization", axes=(-2, -1))
    return torch.from_numpy(np.concatenate([ll, *details], axis=1))


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_every_bank_in_float32(wavelet: str) -> None:
    x = random(1, 2, 16, 24, dtype=torch.float32)
    reference = by_pywavelets(x, wavelet)
    error = (dwt2(x, wavelet).double() - reference).abs().max()
    assert error <= 1e-6 * reference.abs().max()


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("size", [(2, 4), (8, 6), (32, 64)])
def test_equals_pywavelets_and_inverts(wavelet: str, size: tuple[int, int]) -> None:
    x = random(2, 3, *size)
    y = dwt2(x, wavelet)
    torch.testing.assert_close(y, by_pywavelets(x, wavelet), rtol=0, atol=1e-12)
    if wavelet in INVERTIBLE:
        torch.testing.assert_close(idwt2(y, wavelet), x, rtol=0, atol=1e-9)


@given(
    shape=st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 9)] * 2),
    wavelet=st.sampled_from(["haar", "db2", "db4", "sym5", "coif1", "bior2.2", "rbio3.1"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_float32_equals_pywavelets_and_inverts(shape, wavelet, seed) -> None:
    batch, channels, height, width = shape
    x = random(batch, channels, 2 * height, 2 * width, dtype=torch.float32, seed=seed)
    y = dwt2(x, wavelet)
    reference = by_pywavelets(x, wavelet)
    scale = max(1.0, reference.abs().max().item())
    torch.testing.assert_close(y.double(), reference, rtol=0, atol=1e-6 * scale)
    torch.testing.assert_close(idwt2(y, wavelet), x, rtol=0, atol=5e-6 * scale)


def test_order_of_the_sub_bands() -> None:
    rows = torch.tensor([1.0, -1.0]).repeat(4)
    along_vertical = rows.view(1, 1, 8, 1).expand(1, 1, 8, 8)
    for image, band in ((along_vertical, 1), (along_vertical.mT, 2)):
        energy = dwt2(image).square().sum(dim=(0, 2, 3))
        assert energy.argmax() == band
        assert energy[band] == energy.sum()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wavelet", ["haar", "db3"])
def test_sixteen_bit_is_rounded_once(dtype: torch.dtype, wavelet: str) -> None:
    x = random(2, 4, 16, 16).to(dtype)
    assert torch.equal(dwt2(x, wavelet), dwt2(x.float(), wavelet).to(dtype))
    y = dwt2(x, wavelet)
    assert torch.equal(idwt2(y, wavelet), idwt2(y.float(), wavelet).to(dtype))


@pytest.mark.parametrize("wavelet", ["haar", "bior4.4"])
def test_any_strides(wavelet: str) -> None:
    x = random(2, 8, 12, 10)
    expected = dwt2(x, wavelet)
    channels_last = x.to(memory_format=torch.channels_last)
    transposed = x.mT.contiguous().mT
    sliced = torch.stack([x, x], dim=-1)[..., 1]
    for variant in (channels_last, transposed, sliced):
        torch.testing.assert_close(dwt2(variant, wavelet), expected, rtol=0, atol=1e-12)
        y = dwt2(variant, wavelet).to(memory_format=torch.channels_last)
        torch.testing.assert_close(idwt2(y, wavelet), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "bior2.2"])
@pytest.mark.parametrize("transform", [dwt2, idwt2])
def test_gradients(wavelet: str, transform) -> None:
    x = random(1, 4, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: transform(t, wavelet), x)
    assert torch.autograd.gradgradcheck(lambda t: transform(t, wavelet) ** 2, x)


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
@pytest.mark.parametrize("transform", [dwt2, idwt2])
def test_vmap(wavelet: str, transform) -> None:
    x = random(3, 2, 4, 4, 6)
    mapped = torch.vmap(lambda t: transform(t, wavelet))(x)
    torch.testing.assert_close(mapped, torch.stack([transform(each, wavelet) for each in x]))


@pytest.mark.parametrize("transform", [dwt2, idwt2])
def test_compiles_as_one_graph(transform) -> None:
    compiled = torch.compile(transform, backend="aot_eager", fullgraph=True)
    gradients = []
    for function in (transform, compiled):
        x = random(1, 4, 4, 6).requires_grad_()
        function(x).pow(3).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("wavelet", ["haar", "db3"])
def test_autocast_does_not_round(wavelet: str) -> None:
    x = random(1, 4, 8, 8, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = dwt2(x, wavelet), idwt2(x, wavelet)
    assert torch.equal(inside[0], dwt2(x, wavelet))
    assert torch.equal(inside[1], idwt2(x, wavelet))


@pytest.mark.parametrize("wavelet", ["haar", "db3"])
def test_empty_batch(wavelet: str) -> None:
    assert dwt2(torch.zeros(0, 2, 4, 6), wavelet).shape == (0, 8, 2, 3)
    assert idwt2(torch.zeros(0, 8, 2, 3), wavelet).shape == (0, 2, 4, 6)


def test_float32_sums_make_bfloat16_more_accurate() -> None:
    x = random(2, 8, 32, 32).bfloat16()
    (a, b), (c, d) = ((x[..., row::2, 0::2], x[..., row::2, 1::2]) for row in (0, 1))
    in_bfloat16 = torch.cat((a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d), 1) * 0.5
    exact = dwt2(x.double())
    ours, theirs = ((y.double() - exact).square().mean() for y in (dwt2(x), in_bfloat16))
    assert ours < 0.6 * theirs


def test_filters_made_without_gradients_serve_training() -> None:
    with torch.inference_mode():
        dwt2(random(1, 1, 4, 4), "sym4")
    x = random(1, 1, 4, 4).requires_grad_()
    dwt2(x, "sym4").square().sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_orthonormal_means_that_the_norm_is_kept(wavelet: str) -> None:
    x = random(2, 3, 8, 12)
    ratio = (dwt2(x, wavelet).square().sum() / x.square().sum()).item()
    assert is_orthonormal(wavelet) == (abs(ratio - 1) < 1e-9)


def test_orthonormal_where_pywavelets_says_otherwise() -> None:
    # bior1.1 and rbio1.1 are Haar; the truncated dmey keeps the norm only roughly.
    differing = {w for w in WAVELETS if is_orthonormal(w) != pywt.Wavelet(w).orthogonal}
    assert differing == {"bior1.1", "rbio1.1", "dmey"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dwt2(torch.zeros(1, 1, 3, 4)), "must be even"),
        (lambda: dwt2(torch.zeros(1, 1, 4, 5)), "must be even"),
        (lambda: dwt2(torch.zeros(1, 4, 4)), r"\(B, C, H, W\)"),
        (lambda: dwt2(torch.zeros(1, 1, 0, 4)), "must not be 0"),
        (lambda: dwt2(torch.zeros(1, 1, 4, 4, dtype=torch.int64)), "floating-point"),
        (lambda: idwt2(torch.zeros(1, 6, 4, 4)), "6 channels"),
        (lambda: dwt2(torch.zeros(1, 1, 4, 4), "daubechies"), "unknown wavelet 'daubechies'"),
        (lambda: dwt2(torch.zeros(1, 1, 4, 4), "morl"), "unknown wavelet 'morl'"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
