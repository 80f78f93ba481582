"""Named objectives against brute force, PyWavelets and the Parseval identity."""

import math

import numpy as np
import pytest
import pywt
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.objectives import (
    FlowMatching,
    LatentWaveletDiffusion,
    SnrHuberWavelet,
    WaveletFlow,
)
from tests.objectives.draws import draw

ORTHONORMAL = ["haar", "db2", "db5", "sym4", "coif2"]


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
@settings(max_examples=40)
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
@settings(max_examples=40)
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
            objective = WaveletFlow("haar", "latents", tuple(weights.tolist()))
            loss = objective(**{**batch, "velocity": velocity})
        loss.sum().backward()
        gradients.append(velocity.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-13)


@given(
    seed=st.integers(0, 2**31),
    factor=st.floats(-8, 8),
    space=st.sampled_from(["latents", "velocity"]),
)
@settings(max_examples=20)
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
    [
        FlowMatching(),
        WaveletFlow(),
        WaveletFlow("db2", "velocity", (1, 2, 0.5, 3)),
        SnrHuberWavelet(),
        SnrHuberWavelet("db2", beta=0.3),
        LatentWaveletDiffusion(),
        LatentWaveletDiffusion(0.5, "noisy"),
    ],
)
def test_gradient(objective) -> None:
    batch = draw(2, shape=(2, 2, 4, 4))
    velocity = batch.pop("velocity").requires_grad_()
    assert torch.autograd.gradcheck(lambda v: objective(v, **batch), velocity)


@pytest.mark.parametrize(
    "objective",
    [
        FlowMatching(),
        WaveletFlow(),
        WaveletFlow("db2"),
        SnrHuberWavelet(),
        LatentWaveletDiffusion(),
    ],
)
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
    for objective in (WaveletFlow(), SnrHuberWavelet(), LatentWaveletDiffusion()):
        assert objective(**batch).max() == 0


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SnrHuberWavelet("nope"), "unknown wavelet"),
        (lambda: SnrHuberWavelet(c_min=0), "c_min must be positive"),
        (lambda: SnrHuberWavelet(c_max=0.1), "c_max must be at least c_min=0.2, got 0.1"),
        (lambda: SnrHuberWavelet(gamma=float("inf")), "gamma must be positive and finite"),
        (lambda: SnrHuberWavelet(alpha=1.5), r"alpha must lie in \[0, 1\], got 1.5"),
        (lambda: SnrHuberWavelet(beta=-1), "beta must be finite and not negative"),
        (lambda: LatentWaveletDiffusion(lower=1.1), r"lower must lie in \[0, 1\], got 1.1"),
        (lambda: LatentWaveletDiffusion(of="pixels"), "of must be latents or noisy"),
    ],
)
def test_bad_arguments_of_the_others(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def huber_by_hand(velocity, latents, noise, sigma, c_min, c_max, gamma, alpha, beta) -> list[float]:
    """UltraFlux, equations 10 to 14, number by number, with the paper's t."""
    losses = []
    for v, x, e, t in zip(velocity, latents, noise, sigma.tolist(), strict=True):
        snr = (1 - t) ** 2 / t**2
        c = c_min + (c_max - c_min) * (min(snr, gamma) / gamma) ** alpha
        weight = t / (1 - t) * min(snr, gamma) ** beta
        estimate = ((1 - t) * x + t * e) - t * v
        total, count = 0.0, 0
        for channel in range(len(x)):
            low, high = pywt.dwt2(estimate[channel].numpy(), "haar")
            true_low, true_high = pywt.dwt2(x[channel].numpy(), "haar")
            for a, b in zip((low, *high), (true_low, *true_high), strict=True):
                for r in (a - b).flatten().tolist():
                    total += c**2 * (math.sqrt(1 + (r / c) ** 2) - 1)
                    count += 1
        losses.append(weight * total / count)
    return losses


@given(
    seed=st.integers(0, 2**31),
    c_min=st.floats(0.05, 0.5),
    wider=st.floats(0, 2),
    gamma=st.floats(0.5, 10),
    alpha=st.floats(0, 1),
    beta=st.floats(0, 2),
)
@settings(max_examples=20)
def test_snr_huber_wavelet_by_a_loop(seed, c_min, wider, gamma, alpha, beta) -> None:
    batch = draw(seed, shape=(2, 2, 4, 6))
    # The weight is exact between the ends of the schedule.
    batch["sigma"] = batch["sigma"].clamp(0.002, 0.998)
    parameters = (c_min, c_min + wider, gamma, alpha, beta)
    loss = SnrHuberWavelet("haar", *parameters)(**batch)
    np.testing.assert_allclose(loss, huber_by_hand(**batch, **_named(parameters)), rtol=1e-9)


def _named(parameters) -> dict[str, float]:
    return dict(zip(("c_min", "c_max", "gamma", "alpha", "beta"), parameters, strict=True))


def test_what_the_snr_huber_wavelet_tends_to() -> None:
    """For c to infinity and beta = 0: flow matching weighted by sigma^3 / (2 (1 - sigma))."""
    batch = draw(8)
    sigma = batch["sigma"]
    loss = SnrHuberWavelet(c_min=1e6, c_max=1e6, beta=0)(**batch)
    torch.testing.assert_close(loss, sigma**3 / (2 * (1 - sigma)) * FlowMatching()(**batch))


def masked_by_hand(velocity, latents, noise, sigma, lower, of) -> list[float]:
    """LWD, equations 5 to 7, place by place; SciPy enlarges the energy map."""
    losses = []
    for v, x, e, t in zip(velocity, latents, noise, sigma.tolist(), strict=True):
        shown = x if of == "latents" else (1 - t) * x + t * e
        energy = sum(
            np.mean([pywt.dwt2(channel, "haar")[1][band] ** 2 for channel in shown.numpy()], axis=0)
            for band in range(3)
        )
        height, width = x.shape[1:]
        # Centres of the large map's places among those of the small one, edges repeated.
        places = np.meshgrid(
            *((np.arange(n) + 0.5) / 2 - 0.5 for n in (height, width)), indexing="ij"
        )
        large = scipy.ndimage.map_coordinates(energy, places, order=1, mode="nearest")
        share = (large - large.min()) / (large.max() - large.min())
        total = 0.0
        for row in range(height):
            for column in range(width):
                if share[row, column] + lower >= t:
                    error = (e - x - v)[:, row, column]
                    total += float((error**2).sum())
        losses.append(total / x.numel())
    return losses


@given(seed=st.integers(0, 2**31), lower=st.floats(0, 1), of=st.sampled_from(["latents", "noisy"]))
@settings(max_examples=20)
def test_latent_wavelet_diffusion_by_a_loop(seed, lower, of) -> None:
    batch = draw(seed, shape=(2, 3, 6, 8))
    loss = LatentWaveletDiffusion(lower, of)(**batch)
    np.testing.assert_allclose(loss, masked_by_hand(**batch, lower=lower, of=of), rtol=1e-9)


@pytest.mark.parametrize("objective", [FlowMatching(), WaveletFlow(), LatentWaveletDiffusion()])
def test_bad_shapes(objective) -> None:
    batch = draw(5)
    with pytest.raises(ValueError, match="one shape"):
        objective(**{**batch, "noise": batch["noise"][:, :2]})
    with pytest.raises(ValueError, match="sigma must have shape"):
        objective(**{**batch, "sigma": batch["sigma"][:1]})
