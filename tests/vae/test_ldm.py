"""Autoencoders of the LDM layout are computed by the stock class, in strips and at F=16 too."""

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

from benchmarks.comfyui_stand_in import LdmAutoencoder
from diffusion4k.errors import UsageError
from diffusion4k.vae import PartitionedAutoencoderKL, lean_decode, lean_encode
from diffusion4k.vae.ldm import from_ldm
from tests.vae.reference import unfolded


def tiny(**options) -> LdmAutoencoder:
    torch.manual_seed(0)
    made = LdmAutoencoder((8, 16, 16, 24), latents=4, layers=1, groups=4, **options)
    for part in made.modules():
        if isinstance(part, nn.GroupNorm):
            nn.init.normal_(part.weight, 1, 0.3)
            nn.init.normal_(part.bias, 0.5, 0.5)
    return made.eval()


@pytest.mark.parametrize("memory", [None, 400_000])
@pytest.mark.parametrize("quant", [False, True])
@torch.inference_mode()
def test_strips_give_what_the_module_gives(quant: bool, memory: int | None) -> None:
    module = tiny(quant=quant)
    stock = from_ldm(module)
    latents, image = torch.randn(2, 4, 13, 9), torch.randn(2, 3, 104, 72)
    torch.testing.assert_close(
        lean_decode(stock, latents, memory), module.decode(latents), rtol=1e-5, atol=1e-5
    )
    found = lean_encode(stock, image, memory).mode()
    torch.testing.assert_close(found, module.encode(image), rtol=1e-5, atol=1e-5)


def test_weights_are_shared() -> None:
    module = tiny()
    stock = from_ldm(module)
    assert type(stock) is AutoencoderKL
    with torch.no_grad():
        module.decoder.mid.attn_1.q.weight.fill_(7)
        module.encoder.down[2].block[0].conv1.bias.fill_(5)
    assert (stock.decoder.mid_block.attentions[0].to_q.weight == 7).all()
    assert (stock.encoder.down_blocks[2].resnets[0].conv1.bias == 5).all()
    assert sum(p.numel() for p in stock.parameters()) == sum(p.numel() for p in module.parameters())


@torch.inference_mode()
def test_at_f16() -> None:
    stock = from_ldm(tiny())
    expected = unfolded(stock)
    partitioned = PartitionedAutoencoderKL.from_autoencoder(stock)
    latents, image = torch.randn(1, 4, 5, 7), torch.randn(1, 3, 80, 112)
    torch.testing.assert_close(
        lean_decode(partitioned, latents, 900_000),
        expected.decode(latents).sample,
        rtol=1e-5,
        atol=1e-5,
    )
    torch.testing.assert_close(
        lean_encode(partitioned, image).mode(),
        expected.encode(image).latent_dist.mode(),
        rtol=1e-5,
        atol=1e-5,
    )


def with_attention_in_a_level(module: LdmAutoencoder) -> None:
    module.decoder.up[1].attn.append(type(module.decoder.mid.attn_1)(16, 4))


def without_a_block(module: LdmAutoencoder) -> None:
    del module.decoder.up[2].block[1]


def with_tanh(module: LdmAutoencoder) -> None:
    module.decoder.tanh_out = True


def with_another_eps(module: LdmAutoencoder) -> None:
    module.decoder.norm_out.eps = 1e-5


def in_time(module: LdmAutoencoder) -> None:
    module.decoder.up[0].block[0].mix_factor = nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_attention_in_a_level, "such as decoder.up.1.attn.0"),
        (without_a_block, "such as decoder.up_blocks.1.resnets.1"),
        (with_tanh, "a decoder with tanh_out"),
        (with_another_eps, r"group norms of \(groups, eps\)"),
        (in_time, "weights fit no layer"),
    ],
)
def test_what_is_computed_otherwise_is_refused(change, message: str) -> None:
    module = tiny()
    change(module)
    with pytest.raises(UsageError, match=message):
        from_ldm(module)


@pytest.mark.parametrize("other", [nn.Linear(2, 2), AutoencoderTiny(), tiny().encoder])
def test_other_modules_are_refused(other: nn.Module) -> None:
    with pytest.raises(UsageError, match="not an image autoencoder of the LDM layout"):
        from_ldm(other)
