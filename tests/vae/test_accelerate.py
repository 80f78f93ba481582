"""Folded upsampling blocks give the plain decoder's images, gradients and state."""

import copy

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny

from diffusion4k.errors import UsageError
from diffusion4k.vae import PartitionedAutoencoderKL, accelerate_decoder

SMALL = {
    "block_out_channels": (8, 16, 16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
# Latent channels and 1x1 convolutions around the latents, as the families have them.
LAYOUTS = {
    "sdxl": lambda: AutoencoderKL(latent_channels=4, **SMALL),
    "sd3": lambda: AutoencoderKL(
        latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, **SMALL
    ),
    "flux2": lambda: AutoencoderKLFlux2(latent_channels=8, **SMALL),
    "partitioned": lambda: PartitionedAutoencoderKL.from_autoencoder(
        AutoencoderKL(latent_channels=16, **SMALL)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_image_gradients_and_state(layout: str) -> None:
    torch.manual_seed(0)
    plain = LAYOUTS[layout]().double()
    folded = accelerate_decoder(copy.deepcopy(plain))
    assert folded.state_dict().keys() == plain.state_dict().keys()
    latents = torch.randn(2, plain.config.latent_channels, 5, 7, dtype=torch.float64)
    expected, found = plain.decode(latents).sample, folded.decode(latents).sample
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), folded.named_parameters(), strict=True):
        if a.grad is not None:
            assert (a.grad - b.grad).abs().max() <= 1e-9 * a.grad.abs().max() + 1e-12, name


def test_undone_it_is_the_plain_decoder_with_the_weights_of_now() -> None:
    model = LAYOUTS["sd3"]()
    accelerate_decoder(model)
    other = LAYOUTS["sd3"]()
    model.load_state_dict(other.state_dict())
    accelerate_decoder(model, enabled=False)
    latents = torch.randn(1, 16, 4, 4)
    assert torch.equal(model.decode(latents).sample, other.decode(latents).sample)
    assert [type(m) for m in model.modules()] == [type(m) for m in other.modules()]


def test_twice_is_once() -> None:
    model = accelerate_decoder(LAYOUTS["sdxl"]())
    modules = list(model.modules())
    assert list(accelerate_decoder(model).modules()) == modules


def test_saves_and_loads_as_the_stock_class(tmp_path) -> None:
    model = accelerate_decoder(LAYOUTS["sd3"]())
    model.save_pretrained(tmp_path)
    again = AutoencoderKL.from_pretrained(tmp_path)
    latents = torch.randn(1, 16, 4, 4)
    expected = model.decode(latents).sample
    assert (again.decode(latents).sample - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_what_has_no_such_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match="AutoencoderTiny"):
        accelerate_decoder(AutoencoderTiny())
