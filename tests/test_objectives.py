"""Objectives against brute force, PyWavelets and the Parseval identity."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.objectives import FlowMatching, WaveletFlow

ORTHONORMAL = ["haar", "db2", "db5", "sym4", "coif2"]


def draw(seed: int, shape=(3, 4, 8, 6), dtype=torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    velocity, latents, noise = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3)
    )
    sigma = torch.rand(shape[0], generator=generator, dtype=torch.float64)
    return {"velocity": velocity, "latents": latents, "noise": noise, "sigma": sigma}


def by_hand(velocity, latents, noise, sigma, *, wavelet, space, band_weights) -> np.ndarray:
    """The paper's two transforms of prediction and target, by PyWavelets, one sample at a time."""
    losses = []
    for v, x, e, s in zip(*(t.numpy() for t in (velocity, latents, noise, sigma)), strict=True):
        z = (1 - s) * x + s * e
        pairs = {"velocity": (v, e - x), "latents": (z - s * v, x)}
        total, count = 0.0, 0
        for predicted, target in zip(*pairs[space], strict=True):
            a_low, a_high = pywt.dwt2(predicted, wavelet, mode="periodization")
            b_low, b_high = pywt.dwt2(target, wavelet, mode="periodization")
            bands = zip(band_weights, (a_low, *a_high), (b_low, *b_high), strict=True)
            for weight, a, b in bands:
                total += weight * ((a - b) ** 2).sum()
                count += a.size
        losses.append(total / count)
    return np.array(losses)


@given(
    seed=st.integers(0, 2**31),
    wavelet=st.sampled_from([*ORTHONORMAL, "bior2.2", "rbio1.3"]),
    space=st.sampled_from(["latents", "velocity"]),
    weights=st.lists(st.floats(0, 4), min_size=4, max_size=4).filter(any),
)
@settings(max_examples=40, deadline=None)
def test_wavelet_flow_is_the_papers_formula(seed, wavelet, space, weights) -> None:
    batch = draw(seed)
    loss = WaveletFlow(wavelet, space, tuple(weights))(**batch)
    expected = by_hand(**batch, wavelet=wavelet, space=space, band_weights=weights)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-9, atol=1e-12)


@given(
    seed=st.integers(0, 2**31),
    wavelet=st.sampled_from(ORTHONORMAL),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
@settings(max_examples=40, deadline=None)
def test_parseval_identity(seed, wavelet, height, width) -> None:
    batch = draw(seed, shape=(2, 3, 2 * height, 2 * width))
    plain = FlowMatching()(**batch)
    torch.testing.assert_close(WaveletFlow(wavelet, "velocity")(**batch), plain)
    in_latents = WaveletFlow(wavelet, "latents")(**batch)
    torch.testing.assert_close(in_latents, batch["sigma"] ** 2 * plain)


def test_gradient_of_the_naive_formula() -> None:
    """Both transforms of the paper's formula, each block of four pixels by a 4x4 matrix."""
    signs = [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
    haar = torch.tensor(signs, dtype=torch.float64) / 2
    weights = torch.tensor([0.5, 1, 2, 3], dtype=torch.float64)

    def bands(image: torch.Tensor) -> torch.Tensor:
        blocks = image.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
        return torch.einsum("sp,bchwp->bschw", haar, blocks)

    batch = draw(6)
    gradients = []
    for naive in (True, False):
        velocity = batch["velocity"].clone().requires_grad_()
        if naive:
            s = batch["sigma"].view(-1, 1, 1, 1)
            z = (1 - s) * batch["latents"] + s * batch["noise"]
            error = (bands(z - s * velocity) - bands(batch["latents"])) ** 2
            loss = (error * weights.view(1, 4, 1, 1, 1)).mean(dim=(1, 2, 3, 4))
        else:
            objective = WaveletFlow(band_weights=tuple(weights.tolist()))
            loss = objective(**{**batch, "velocity": velocity})
        loss.sum().backward()
        gradients.append(velocity.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-13)


@given(
    seed=st.integers(0, 2**31),
    factor=st.floats(-8, 8),
    space=st.sampled_from(["latents", "velocity"]),
)
@settings(max_examples=20, deadline=None)
def test_homogeneous(seed, factor, space) -> None:
    """Of degree two in the tensors, of degree one in the weights."""
    batch = draw(seed, shape=(2, 2, 4, 4))
    scaled = {k: v if k == "sigma" else factor * v for k, v in batch.items()}
    weights = (0.5, 1, 2, 3)
    for objective in (FlowMatching(), WaveletFlow("db2", space, weights)):
        expected = factor**2 * objective(**batch)
        torch.testing.assert_close(objective(**scaled), expected, rtol=1e-9, atol=1e-12)
    heavier = WaveletFlow("db2", space, tuple(3 * w for w in weights))(**batch)
    torch.testing.assert_close(heavier, 3 * WaveletFlow("db2", space, weights)(**batch))


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_autocast_does_not_round_the_loss(wavelet) -> None:
    batch = draw(7, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = WaveletFlow(wavelet)(**batch)
    torch.testing.assert_close(inside, WaveletFlow(wavelet)(**batch), rtol=1e-6, atol=0)


def test_unequal_weights_are_not_plain_flow_matching() -> None:
    batch = draw(0)
    plain = FlowMatching()(**batch)
    weighted = WaveletFlow(space="velocity", band_weights=(0, 1, 1, 2))(**batch)
    assert not torch.allclose(weighted, plain, rtol=1e-3)


def test_flow_matching_by_a_loop() -> None:
    batch = draw(1, shape=(2, 1, 2, 2))
    for i, loss in enumerate(FlowMatching()(**batch)):
        v, x, e = (batch[key][i].flatten().tolist() for key in ("velocity", "latents", "noise"))
        expected = sum((a - (c - b)) ** 2 for a, b, c in zip(v, x, e, strict=True)) / 4
        assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "objective",
    [FlowMatching(), WaveletFlow(), WaveletFlow("db2", "velocity", (1, 2, 0.5, 3))],
)
def test_gradient(objective) -> None:
    batch = draw(2, shape=(2, 2, 4, 4))
    velocity = batch.pop("velocity").requires_grad_()
    assert torch.autograd.gradcheck(lambda v: objective(v, **batch), velocity)


@pytest.mark.parametrize("objective", [FlowMatching(), WaveletFlow(), WaveletFlow("db2")])
def test_sixteen_bit_input_is_summed_in_float32(objective) -> None:
    half = draw(3, dtype=torch.bfloat16)
    half["sigma"] = half["sigma"].float()
    loss = objective(**half)
    assert loss.dtype == torch.float32
    exact = {key: value.double() for key, value in half.items()}
    torch.testing.assert_close(loss.double(), objective(**exact), rtol=1e-5, atol=1e-7)


def test_a_perfect_prediction_costs_nothing() -> None:
    batch = draw(4)
    batch["velocity"] = batch["noise"] - batch["latents"]
    assert WaveletFlow()(**batch).max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wavelet": "nope"}, "unknown wavelet 'nope'"),
        ({"space": "pixels"}, "latents or velocity, got 'pixels'"),
        ({"band_weights": (1, 1, 1)}, "four finite numbers"),
        ({"band_weights": (1, 1, 1, -1)}, "four finite numbers"),
        ({"band_weights": (1, 1, 1, float("nan"))}, "four finite numbers"),
        ({"band_weights": (0, 0, 0, 0)}, "not all 0"),
    ],
)
def test_bad_arguments(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaveletFlow(**arguments)


@pytest.mark.parametrize("objective", [FlowMatching(), WaveletFlow()])
def test_bad_shapes(objective) -> None:
    batch = draw(5)
    with pytest.raises(ValueError, match="one shape"):
        objective(**{**batch, "noise": batch["noise"][:, :2]})
    with pytest.raises(ValueError, match="sigma must have shape"):
        objective(**{**batch, "sigma": batch["sigma"][:1]})
