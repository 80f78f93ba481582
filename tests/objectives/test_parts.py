"""Norms and masks by themselves."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import pseudo_huber

from diffusion4k.objectives.masks import EnergyMask, energy_map
from diffusion4k.objectives.norms import Absolute, PseudoHuber, SnrHuber, Squared


@given(r=st.floats(-100, 100), c=st.floats(0.01, 100))
def test_pseudo_huber_is_scipys(r, c) -> None:
    found = PseudoHuber(c)(torch.tensor([r], dtype=torch.float64), torch.zeros(1))
    assert found.item() == pytest.approx(pseudo_huber(c, r), rel=1e-9, abs=1e-12)


@given(r=st.floats(-9, 9), sigma=st.floats(0.002, 0.998), alpha=st.floats(0, 1))
def test_snr_huber_is_scipys_with_the_papers_threshold(r, sigma, alpha) -> None:
    c = 0.2 + 0.8 * (min((1 - sigma) ** 2 / sigma**2, 5) / 5) ** alpha
    level = torch.tensor([sigma], dtype=torch.float64)
    found = SnrHuber(alpha=alpha)(torch.tensor([r], dtype=torch.float64), level)
    assert found.item() == pytest.approx(pseudo_huber(c, r), rel=1e-9, abs=1e-12)


def test_small_errors_do_not_vanish_in_float32() -> None:
    found = PseudoHuber(1)(torch.tensor([1e-5]), torch.zeros(1)).item()
    assert found == pytest.approx(0.5e-10, rel=1e-5)
    assert math.sqrt(torch.tensor(1 + 1e-10, dtype=torch.float32)) == 1  # as the formula reads


def test_squared_and_absolute() -> None:
    error = torch.tensor([-2.0, 0.0, 3.0])
    assert Squared()(error, error).tolist() == [4, 0, 9]
    assert Absolute()(error, error).tolist() == [2, 0, 3]


def test_the_mask_keeps_what_is_rich_in_detail() -> None:
    latents = torch.zeros(1, 4, 16, 16)
    latents[..., :8] = torch.randn(4, 16, 8, generator=torch.Generator().manual_seed(0))
    energy = energy_map(latents)
    assert energy.shape == (1, 1, 16, 16) and energy.min() == 0
    assert energy.max() == pytest.approx(1)
    share = {s: EnergyMask()(latents, latents, torch.tensor([s])) for s in (0.3, 0.35, 0.9)}
    assert share[0.3].mean() == 1
    assert share[0.35][..., 9:].max() == 0
    assert 0 < share[0.9].mean() < share[0.35].mean() < 1


def test_a_mask_of_noisy_latents_sees_the_noise() -> None:
    flat = torch.zeros(1, 2, 8, 8)
    noise = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.5])
    assert EnergyMask(0.3, "latents")(flat, noise, sigma).max() == 0
    assert EnergyMask(0.3, "noisy")(flat, noise, sigma).max() == 1


def test_flat_latents_have_no_detail() -> None:
    assert energy_map(torch.full((2, 3, 4, 4), 7.0)).max() == 0


def test_a_mask_does_not_carry_gradients() -> None:
    latents = torch.randn(1, 2, 4, 4, requires_grad=True)
    assert not EnergyMask()(latents, latents, torch.tensor([0.5])).requires_grad
