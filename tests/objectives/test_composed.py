"""Compositions: identities, gradients, 16 bits, the compiler, the ends of sigma."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion4k.objectives import Composed, FlowMatching, WaveletFlow
from diffusion4k.objectives.masks import EnergyMask
from diffusion4k.objectives.norms import Absolute, PseudoHuber
from diffusion4k.objectives.transforms import Bands, Wavelet
from diffusion4k.objectives.weightings import InverseSigmaSquared, MinSnr, SigmaSquared
from tests.objectives.draws import EVERY_PART, draw


def test_no_parts_are_flow_matching() -> None:
    batch = draw(0)
    torch.testing.assert_close(Composed()(**batch), FlowMatching()(**batch))


@given(
    seed=st.integers(0, 2**31),
    wavelet=st.sampled_from(["haar", "db2", "sym4", "coif2"]),
    levels=st.integers(1, 3),
    height=st.integers(1, 2),
    width=st.integers(1, 2),
)
@settings(max_examples=30)
def test_parseval_at_any_number_of_levels(seed, wavelet, levels, height, width) -> None:
    batch = draw(seed, shape=(2, 2, 2**levels * height, 2**levels * width))
    plain = FlowMatching()(**batch)
    transform = Wavelet(wavelet, levels)
    torch.testing.assert_close(Composed(transform=transform)(**batch), plain)
    in_latents = Composed("latents", transform=transform)(**batch)
    torch.testing.assert_close(in_latents, batch["sigma"] ** 2 * plain)
    weighted = Composed(weighting=SigmaSquared())(**batch)
    torch.testing.assert_close(weighted, in_latents)


def test_weightings_of_latents_and_of_the_velocity() -> None:
    batch = draw(1, shape=(6, 2, 4, 4))
    sigma, plain = batch["sigma"], FlowMatching()(**batch)
    least = torch.minimum((1 - sigma) ** 2, 5 * sigma**2)
    torch.testing.assert_close(Composed("latents", MinSnr(5))(**batch), least * plain)
    torch.testing.assert_close(Composed("latents", InverseSigmaSquared())(**batch), plain)


def test_unequal_weights_by_level_are_no_flow_matching() -> None:
    batch = draw(2, shape=(2, 2, 8, 8))
    transform = Wavelet(levels=2, bands=(Bands(1, ((1, 1, 1), (2, 1, 1))),))
    changed = Composed(transform=transform)(**batch)
    assert not torch.allclose(changed, FlowMatching()(**batch), rtol=1e-3)


def test_a_huge_threshold_is_half_the_squared_error() -> None:
    batch = draw(3)
    for half in (PseudoHuber(1e9), PseudoHuber(1e4)):
        torch.testing.assert_close(2 * Composed(norm=half)(**batch), FlowMatching()(**batch))


def test_a_tiny_threshold_is_c_times_the_absolute_error() -> None:
    batch = draw(3)
    found = Composed(norm=PseudoHuber(1e-9))(**batch) / 1e-9
    torch.testing.assert_close(found, Composed(norm=Absolute())(**batch))


def test_a_mask_that_leaves_nothing_out_is_no_mask() -> None:
    batch = draw(4, shape=(3, 2, 8, 8))
    for parts in ({}, {"transform": Wavelet(levels=2), "norm": PseudoHuber(0.5)}):
        masked = Composed("latents", mask=EnergyMask(lower=1), **parts)(**batch)
        assert torch.equal(masked, Composed("latents", **parts)(**batch))


@pytest.mark.parametrize("objective", EVERY_PART, ids=str)
def test_gradient(objective) -> None:
    batch = draw(5, shape=(2, 2, 4, 8))
    velocity = batch.pop("velocity").requires_grad_()
    assert torch.autograd.gradcheck(lambda v: objective(v, **batch), velocity)


@pytest.mark.parametrize("objective", EVERY_PART, ids=str)
def test_sixteen_bits(objective) -> None:
    """bfloat16 tensors, also under autocast, give the float64 loss of the same numbers."""
    half = draw(6, shape=(3, 4, 8, 8), dtype=torch.bfloat16)
    exact = objective(**{key: value.double() for key, value in half.items()})
    half["sigma"] = half["sigma"].float()
    velocity = half["velocity"].requires_grad_()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = objective(**half)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-6)
    loss.sum().backward()
    assert velocity.grad is not None and velocity.grad.isfinite().all()


@pytest.mark.parametrize("objective", EVERY_PART, ids=str)
@pytest.mark.parametrize("sigma", [0.0, 1e-6, 1 - 1e-6, 1.0])
def test_finite_at_the_ends(objective, sigma: float) -> None:
    batch = draw(7, shape=(2, 2, 8, 8), dtype=torch.float32)
    batch["sigma"] = torch.full((2,), sigma)
    velocity = batch["velocity"].requires_grad_()
    loss = objective(**batch)
    loss.sum().backward()
    assert loss.isfinite().all() and velocity.grad.isfinite().all()


def test_a_loss_of_one_picture_is_its_own() -> None:
    for objective in EVERY_PART:
        batch = draw(8, shape=(3, 2, 8, 8))
        together = objective(**batch)
        alone = [objective(**{k: v[i : i + 1] for k, v in batch.items()}) for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("objective", EVERY_PART, ids=str)
def test_compiles_as_one_graph(objective) -> None:
    torch.compiler.reset()
    batch = draw(9, shape=(2, 2, 8, 8), dtype=torch.float32)
    batch["sigma"] = batch["sigma"].float()
    compiled = torch.compile(objective.__call__, fullgraph=True, backend="aot_eager")
    found = []
    for function in (objective, compiled):
        velocity = batch["velocity"].clone().requires_grad_()
        loss = function(**{**batch, "velocity": velocity})
        loss.sum().backward()
        found.append((loss.detach(), velocity.grad))
    torch.testing.assert_close(found[0], found[1])


def test_meta_tensors_for_plans() -> None:
    batch = {key: value.to("meta") for key, value in draw(10, shape=(2, 2, 8, 8)).items()}
    for objective in EVERY_PART:
        assert objective(**batch).shape == (2,)


def test_the_arguments_are_left_alone() -> None:
    for objective in EVERY_PART:
        batch = draw(11, shape=(2, 2, 8, 8))
        before = {key: value.clone() for key, value in batch.items()}
        objective(**batch)
        assert all(torch.equal(before[key], batch[key]) for key in batch)


def test_unknown_space() -> None:
    with pytest.raises(ValueError, match="latents or velocity, got 'pixels'"):
        Composed("pixels")  # type: ignore[arg-type]


def test_an_empty_batch_and_huge_errors() -> None:
    batch = {key: value[:0] for key, value in draw(12).items()}
    assert WaveletFlow()(**batch).shape == (0,)
    batch = {k: v if k == "sigma" else 1e4 * v for k, v in draw(12, dtype=torch.float32).items()}
    loss = Composed(norm=PseudoHuber(1e-3))(**batch)
    assert all(math.isfinite(each) for each in loss.tolist())
