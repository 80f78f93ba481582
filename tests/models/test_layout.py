"""Original layouts against diffusers' own converters, which were written apart from ours."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from diffusers.loaders import single_file_utils as reference
from torch import Tensor, nn

from benchmarks.tiny import tiny_autoencoder, tiny_transformer
from diffusion4k.families.autoencoder_kl_layout import LDM
from diffusion4k.models.layout import Layout, LayoutError, original_layout
from tests.families.parts import tiny_flux_transformer

Convert = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


def _flux(width: int) -> Convert:
    """diffusers' converter, which is written for a width of 3072."""
    source = inspect.getsource(reference.convert_flux_transformer_checkpoint_to_diffusers)
    assert "inner_dim = 3072" in source
    names = dict(vars(reference))
    exec(source.replace("inner_dim = 3072", f"inner_dim = {width}"), names)
    return names["convert_flux_transformer_checkpoint_to_diffusers"]


def _sd35() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    )


def _z_image() -> ZImageTransformer2DModel:
    return ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[4, 6, 6],
        axes_lens=[64, 32, 32],
    )


def _ldm() -> AutoencoderKL:
    """An autoencoder of Stable Diffusion 1's kind: three levels, quantising convolutions."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        layers_per_block=2,
        norm_num_groups=4,
        latent_channels=4,
    )


def _autoencoder(network: AutoencoderKL) -> Convert:
    return lambda state: reference.convert_ldm_vae_checkpoint(state, network.config)


def _drawn(network: nn.Module) -> dict[str, Tensor]:
    """Weights of which no two are alike."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in network.state_dict().items()
    }


def _as_original(layout: Layout, state: dict[str, Tensor]) -> dict[str, Tensor]:
    fused = layout.fused({name: tuple(value.shape) for name, value in state.items()})
    return {
        layout.prefix + each.name: each.join([state[part] for part in each.parts]) for each in fused
    }


CASES: dict[str, Callable[[], tuple[nn.Module, Layout | None, Convert]]] = {
    "flux dev": lambda: (tiny_flux_transformer(), original_layout("flux"), _flux(32)),
    "flux schnell": lambda: (
        tiny_flux_transformer(distilled=False),
        original_layout("flux"),
        _flux(32),
    ),
    "sd3": lambda: (
        tiny_transformer(),
        original_layout("sd3"),
        reference.convert_sd3_transformer_checkpoint_to_diffusers,
    ),
    "sd3.5": lambda: (
        _sd35(),
        original_layout("sd3"),
        reference.convert_sd3_transformer_checkpoint_to_diffusers,
    ),
    "z-image": lambda: (
        _z_image(),
        original_layout("z-image"),
        reference.convert_z_image_transformer_checkpoint_to_diffusers,
    ),
    "autoencoder": lambda: (vae := tiny_autoencoder(), LDM, _autoencoder(vae)),
    "ldm autoencoder": lambda: (vae := _ldm(), LDM, _autoencoder(vae)),
}


@pytest.mark.parametrize("case", CASES)
def test_diffusers_converter_brings_it_back(case: str) -> None:
    network, layout, convert = CASES[case]()
    assert layout
    state = _drawn(network)
    found = convert(_as_original(layout, state))
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("case", CASES)
def test_so_does_our_own(case: str) -> None:
    network, layout, _ = CASES[case]()
    assert layout
    state = _drawn(network)
    original = _as_original(layout, state)
    back: dict[str, Any] = {}
    for each in layout.fused({name: tuple(value.shape) for name, value in state.items()}):
        whole = original[layout.prefix + each.name]
        assert whole.shape == each.shape
        back |= dict(zip(each.parts, each.split(whole), strict=True))
    assert all(torch.equal(back[name], value) for name, value in state.items())


def test_pixart_has_the_names_of_its_makers() -> None:
    """diffusers' package has no converter for it; the names are those of the published file."""
    network = PixArtTransformer2DModel(
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=64,
        in_channels=4,
        out_channels=8,
        sample_size=32,
        use_additional_conditions=False,
    )
    layout = original_layout("pixart")
    assert layout
    state = _drawn(network)
    found = _as_original(layout, state)
    block = "model.diffusion_model.blocks.0."
    ours = "transformer_blocks.0."
    joined = torch.cat([state[f"{ours}attn2.to_{each}.weight"] for each in "kv"])
    assert torch.equal(found[block + "cross_attn.kv_linear.weight"], joined)
    table = state[f"{ours}scale_shift_table"]
    assert torch.equal(found[block + "scale_shift_table"], table)
    embedder = state["adaln_single.emb.timestep_embedder.linear_2.bias"]
    assert torch.equal(found["model.diffusion_model.t_embedder.mlp.2.bias"], embedder)
    # Of each block, and beside the blocks, as many as in the published file but its two extra ones.
    blocks = [name for name in found if ".blocks.0." in name]
    assert (len(blocks), len(found) - len(blocks)) == (15, 15)


def test_what_a_layout_does_not_know_is_named() -> None:
    layout = original_layout("flux")
    assert layout
    with pytest.raises(LayoutError, match=r"other\.weight has no name"):
        layout.fused({"other.weight": (1,)})
    with pytest.raises(LayoutError, match=r"qkv\.weight: found .*to_q\.weight without the rest"):
        layout.fused({"transformer_blocks.0.attn.to_q.weight": (1, 1)})
    assert original_layout("sana") is None
