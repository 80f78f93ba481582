"""Windows: every latent is covered, weights sum to one, and without attention nothing changes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diffusion4k.families.sd3 import StableDiffusion3
from diffusion4k.sampling.windows import StageTransformer, Windows, overlapping, shifted


@given(st.data(), st.integers(1, 70), st.integers(1, 24), st.booleans())
def test_weights_of_every_latent_sum_to_one(
    data: st.DataObject, size: int, window: int, is_shifted: bool
) -> None:
    if is_shifted:
        axis = shifted(size, window, data.draw(st.integers(0, window - 1)))
    else:
        axis = overlapping(size, window)
    total = torch.zeros(size)
    for origin, weights in axis:
        assert origin >= 0 and len(weights) == min(window, size)
        assert origin + len(weights) <= size and weights.min() >= 0 and weights.any()
        total[origin : origin + len(weights)] += weights
    torch.testing.assert_close(total, torch.ones(size))
    if is_shifted:
        assert all(set(weights.tolist()) <= {0.0, 1.0} for _, weights in axis)
        assert len(axis) <= -(-size // window) + 1


class _Pointwise(nn.Module):
    """A network without attention, called like SD3's: each latent for itself, by its sample."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)
        self.shapes: list[torch.Size] = []

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        return_dict: bool = True,
    ) -> tuple[Tensor]:
        assert not return_dict and len(timestep) == len(encoder_hidden_states) == len(hidden_states)
        self.shapes.append(hidden_states.shape)
        text = encoder_hidden_states.view(-1, 1, 1, 1)
        return (torch.tanh(self.layer(hidden_states)) * text + timestep.view(-1, 1, 1, 1) / 1000,)


def _called(network: nn.Module, latents: Tensor, **options: Any) -> Tensor:
    around = StageTransformer(network, StableDiffusion3(), *latents.shape[-2:], **options)
    text = torch.arange(1.0, 1 + len(latents)).view(-1, 1)
    timestep = torch.full((len(latents),), 500.0)
    with torch.no_grad():
        found: Tensor = around(latents, text, timestep=timestep, return_dict=False)[0]
    return found


@settings(max_examples=20, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(2, 40),
    st.integers(1, 6),
    st.sampled_from(["shifted", "overlap"]),
)
def test_without_attention_windows_give_the_whole_picture(
    height: int, width: int, tokens: int, grid: str
) -> None:
    network, latents = _Pointwise(), torch.randn(2, 4, height, width)
    whole = _called(network, latents)
    found = _called(network, latents, windows=Windows(2 * tokens, tokens**2, grid, seed=1))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    assert all(
        s[-2:] == (min(2 * tokens, height), min(2 * tokens, width)) for s in network.shapes[1:]
    )


class _Mean(nn.Module):
    """A network that sees all of its picture: the mean of each channel."""

    def forward(
        self, hidden_states: Tensor, timestep: Tensor, return_dict: bool = True
    ) -> tuple[Tensor]:
        return (hidden_states.mean((2, 3), keepdim=True).expand_as(hidden_states),)


def _grid(seed: int, timestep: float) -> Tensor:
    latents = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    windows = Windows(8, 16, "shifted", seed)
    around = StageTransformer(_Mean(), StableDiffusion3(), 24, 24, windows=windows)
    found: Tensor = around(hidden_states=latents, timestep=torch.tensor([timestep]))[0]
    return found


def test_the_grid_moves_with_seed_and_step_alone() -> None:
    assert torch.equal(_grid(1, 500.0), _grid(1, 500.0))
    assert not torch.equal(_grid(1, 500.0), _grid(1, 400.0))
    assert not torch.equal(_grid(1, 500.0), _grid(2, 500.0))


def test_borders_fall_on_every_latent() -> None:
    """Also between the two latents of a token, so that the token grid moves, too."""
    borders = {
        (_grid(seed, 500.0)[0, 0, 12].diff() != 0).nonzero().flatten()[0].item() % 8
        for seed in range(60)
    }
    assert borders == set(range(8))


def test_calls_are_of_one_size_whatever_the_image() -> None:
    network = _Pointwise()
    windows = Windows(4, 4, "overlap", 0)
    for side in (16, 96):
        network.shapes.clear()
        _called(network, torch.randn(1, 4, side, side), windows=windows)
        assert max(shape[0] for shape in network.shapes) <= 1024


def test_other_attributes_are_the_stock_transformer_s() -> None:
    network = _Pointwise()
    around = StageTransformer(network, StableDiffusion3(), 4, 4)
    assert around.shapes is network.shapes
    with pytest.raises(AttributeError):
        _ = around.absent
