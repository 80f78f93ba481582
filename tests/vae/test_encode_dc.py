"""Strips of an AutoencoderDC against its whole pass."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderDC

from diffusion4k.vae import encode_dc
from diffusion4k.vae.encode_dc import encoding_in_strips

MOST = 96 * 64


def tiny(down: str = "Conv", first: int = 1) -> Any:
    torch.manual_seed(0)
    blocks = ("ResBlock",) * 2 + ("EfficientViTBlock",)
    model = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(first, 2, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), (5,)),
        decoder_qkv_multiscales=((), (), (5,)),
        downsample_block_type=down,
    )
    return model.eval()


@pytest.mark.parametrize("down", ["Conv", "pixel_unshuffle"])
@pytest.mark.parametrize("first", [0, 1, 2])
@torch.no_grad()
def test_latents_are_those_of_the_whole(down: str, first: int) -> None:
    model = tiny(down, first)
    images = torch.rand(2, 3, 224, 96) * 2 - 1
    rows: list[int] = []
    expected = model.encode(images).latent
    model.encoder.conv_in.register_forward_pre_hook(lambda _, x: rows.append(x[0].shape[-2]))
    with encoding_in_strips(model, MOST):
        found = model.encode(images).latent
    assert len(rows) == 4 and max(rows) < 112
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert "forward" not in vars(model.encoder)


@torch.no_grad()
def test_the_margin_is_needed_and_small_pictures_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    images = torch.rand(1, 3, 224, 96) * 2 - 1
    expected = model.encode(images).latent
    with encoding_in_strips(model):
        assert torch.equal(model.encode(images).latent, expected)
    seen, factor = encode_dc._seen(encode_dc._divided(model.encoder)[0])
    # conv_in, a block and a step down at full size (4); two blocks and a step down at half (5 x 2).
    assert (seen, factor) == (16, 4)
    monkeypatch.setattr(encode_dc, "_seen", lambda _: (0, factor))
    with encoding_in_strips(model, MOST):
        assert (model.encode(images).latent - expected).abs().max() > 1e-4
