"""Strips give the stock result for every class, at sizes that divide badly, within any budget."""

import copy
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.measured import allocated_peak, counted_flops
from diffusion4k.errors import UsageError
from diffusion4k.models.published import build_published
from diffusion4k.vae import check_decode_memory, decode_strips, lean_decode, lean_encode
from diffusion4k.vae.cost import decode_cost, encode_cost
from diffusion4k.vae.layouts import layout_of
from tests.vae.autoencoders import AUTOENCODERS, as_stock, plain_decode, plain_encode

NAMES = list(AUTOENCODERS)
MEMORY = st.one_of(st.none(), st.integers(300_000, 2_000_000))
SIDE = st.integers(1, 13)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * max(1, expected.abs().max())


def latents_for(autoencoder: Any, *size: int, batch: int = 1) -> Tensor:
    torch.manual_seed(sum(size))
    return torch.randn(batch, layout_of(autoencoder).latent_channels(autoencoder), *size)


def images_for(autoencoder: Any, *size: int, batch: int = 1) -> Tensor:
    torch.manual_seed(sum(size))
    layout = layout_of(autoencoder)
    factor = layout.factor(autoencoder)
    return torch.randn(batch, layout.image_channels(autoencoder), *(factor * s for s in size))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4)
@given(batch=st.integers(1, 2), height=SIDE, width=SIDE, memory=MEMORY)
def test_decode_is_the_stock_one(name: str, batch: int, height: int, width: int, memory) -> None:
    autoencoder = AUTOENCODERS[name]
    latents = latents_for(autoencoder, height, width, batch=batch)
    expected = plain_decode(autoencoder, latents)
    assert_close(lean_decode(autoencoder, as_stock(autoencoder, latents), memory), expected)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4)
@given(batch=st.integers(1, 2), height=SIDE, width=SIDE, memory=MEMORY)
def test_encode_is_the_stock_one(name: str, batch: int, height: int, width: int, memory) -> None:
    autoencoder = AUTOENCODERS[name]
    images = images_for(autoencoder, height, width, batch=batch)
    expected = plain_encode(autoencoder, images)
    found = lean_encode(autoencoder, as_stock(autoencoder, images), memory)
    assert_close(found.parameters, expected)


@pytest.mark.parametrize("name", NAMES)
def test_many_strips_at_a_size_that_divides_badly(name: str) -> None:
    autoencoder = AUTOENCODERS[name]
    latents = latents_for(autoencoder, 37, 29)
    strips = list(decode_strips(autoencoder, latents, "700K"))
    assert len(strips) > 3
    expected = plain_decode(autoencoder, latents)
    found = torch.cat([strip for _, strip in strips], dim=2)
    assert_close(found, expected.squeeze(2) if expected.ndim == 5 else expected)


@pytest.mark.parametrize("name", ["qwen", "wan 2.2", "dc"])
def test_in_half_precision_it_differs_by_rounding(name: str) -> None:
    autoencoder = copy.deepcopy(AUTOENCODERS[name]).to(torch.bfloat16)
    latents = latents_for(autoencoder, 11, 7).to(torch.bfloat16)
    expected = plain_decode(AUTOENCODERS[name], latents.float())
    found, stock = lean_decode(autoencoder, latents), plain_decode(autoencoder, latents)
    assert found.dtype == torch.bfloat16
    error, stock_error = ((v.float().reshape(expected.shape) - expected) for v in (found, stock))
    assert error.square().mean() < 2 * stock_error.square().mean()


def test_without_frames_the_image_has_none_either() -> None:
    autoencoder = AUTOENCODERS["qwen"]
    latents = latents_for(autoencoder, 3, 2)
    found = lean_decode(autoencoder, latents)
    assert torch.equal(found, lean_decode(autoencoder, latents.unsqueeze(2)).squeeze(2))
    assert lean_encode(autoencoder, found).mode().shape == latents.shape


@pytest.mark.parametrize("name", ["qwen", "wan 2.1"])
def test_videos_are_refused(name: str) -> None:
    autoencoder = AUTOENCODERS[name]
    with pytest.raises(UsageError, match="latents of 2 frames"):
        lean_decode(autoencoder, torch.randn(1, 4, 2, 3, 3))
    with pytest.raises(UsageError, match="image of 5 frames"):
        lean_encode(autoencoder, torch.randn(1, 3, 5, 8, 8))


def test_an_unknown_class_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"AutoencoderTiny: .* know those of AutoencoderKL, Auto"):
        lean_decode(AutoencoderTiny(), torch.randn(1, 4, 8, 8))


class Blur(nn.Module):
    """A layer that nobody knows."""


def _with_attention() -> Any:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        norm_num_groups=4,
    ).eval()


def _with(name: str, change: Any) -> Any:
    autoencoder = copy.deepcopy(AUTOENCODERS[name])
    change(autoencoder)
    return autoencoder


UNKNOWN = {
    "AttnUpDecoderBlock2D": _with_attention,
    "Blur": lambda: _with("dc", lambda a: a.decoder.up_blocks[0].append(Blur())),
    "BatchNorm2d": lambda: _with("dc, batch norms", lambda a: a.train()),
    "Identity": lambda: _with("wan 2.1", lambda a: a.decoder.up_blocks.append(nn.Identity())),
    "LayerNorm": lambda: _with(
        "flux2", lambda a: setattr(a.decoder, "conv_norm_out", nn.LayerNorm(8))
    ),
}


@pytest.mark.parametrize("layer", UNKNOWN)
def test_an_unknown_layer_is_refused_by_name(layer: str) -> None:
    autoencoder = UNKNOWN[layer]()
    with pytest.raises(UsageError, match=rf"{type(autoencoder).__name__}: its layer {layer} is"):
        check_decode_memory(autoencoder, 4, 4, None)


@pytest.mark.parametrize("name", NAMES)
def test_the_memory_that_an_error_names_is_enough(name: str) -> None:
    autoencoder = AUTOENCODERS[name]
    with pytest.raises(UsageError, match="at least") as refused:
        check_decode_memory(autoencoder, 16, 16, 1000)
    least = str(refused.value).rsplit("at least ", 1)[1]
    latents = latents_for(autoencoder, 16, 16)
    assert lean_decode(autoencoder, latents, least).isfinite().all()


@pytest.mark.parametrize("name", ["wan 2.2", "dc"])
@pytest.mark.parametrize("memory", [None, "6MiB"])
def test_cost_is_known_in_advance(name: str, memory: str | None) -> None:
    """Computations exactly; memory less so, as with few channels temporary sums over them count."""
    autoencoder = AUTOENCODERS[name]
    latents, images = latents_for(autoencoder, 48, 48), images_for(autoencoder, 48, 48)

    def decode() -> None:
        for _ in decode_strips(autoencoder, latents, memory):
            pass

    def encode() -> None:
        lean_encode(autoencoder, images, memory)

    for run, cost in (
        (decode, decode_cost(autoencoder, 48, 48, memory)),
        (encode, encode_cost(autoencoder, *images.shape[2:], memory)),
    ):
        run()
        assert cost.flops == pytest.approx(counted_flops(run), rel=0.02)
        assert cost.memory == pytest.approx(allocated_peak(run), rel=0.25)


def test_deep_compression_at_published_size_is_bounded() -> None:
    """By cost alone: within a budget the peak does not grow from 2048 to 4096 pixels."""
    autoencoder = build_published("Efficient-Large-Model/Sana_1600M_4Kpx_BF16_diffusers", "vae")
    small, large = (decode_cost(autoencoder, side, side, "2GiB").memory for side in (64, 128))
    assert large <= 1.25 * small
    assert large <= 2**31
