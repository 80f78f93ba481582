"""Files of every layout give the weights that their formulas say, to 1e-6 in float32."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel, StableDiffusion3Pipeline
from torch import Tensor, nn

from benchmarks.tiny import tiny_transformer
from diffusion4k.lora import check_adapter, load_adapter, load_adapters, merge_adapter, read_adapter
from tests.lora import writers
from tests.lora.reference import Case, pair
from tests.lora.writers import CASES


def small_flux() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()


def small(family: str) -> nn.Module:
    torch.manual_seed(0)
    return small_flux() if family == "flux" else tiny_transformer()


def expected(case: Case, before: dict[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
    wanted = dict(before)
    for name, delta in case.deltas.items():
        weight = before[name]
        wanted[name] = weight + scale * (delta if isinstance(delta, Tensor) else delta(weight))
    return wanted


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, weight in found.items():
        difference = (weight - wanted[name]).abs().max()
        assert difference <= 1e-6 * wanted[name].abs().max(), name


@pytest.mark.parametrize("written", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("scale", [1.0, -0.7])
def test_a_file_is_applied(tmp_path: Path, written: Callable[[], Case], scale: float) -> None:
    torch.manual_seed(1)
    case = written()
    adapter = read_adapter(case.write(tmp_path))
    transformer = small(case.family)
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    check_adapter(adapter, family=case.family, model="small", transformer=transformer)
    load_adapter(transformer, adapter, scale)
    merge_adapter(transformer)
    assert_same(transformer.state_dict(), expected(case, before, scale))


@pytest.mark.parametrize("written", CASES, ids=lambda case: case.__name__)
def test_a_scale_of_0_leaves_all_as_it_was(tmp_path: Path, written: Callable[[], Case]) -> None:
    torch.manual_seed(1)
    case = written()
    transformer = small(case.family)
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    load_adapter(transformer, read_adapter(case.write(tmp_path)), 0.0)
    merge_adapter(transformer)
    after = transformer.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_several_add_up(tmp_path: Path) -> None:
    """LoRA of two layouts that share layers, and a LoKr that is merged."""
    torch.manual_seed(1)
    cases = (writers.diffusers_sd3(), writers.kohya_sd3(), writers.lycoris_lokr())
    scales = (1.0, -0.5, 0.25)
    adapters = [read_adapter(c.write(tmp_path / str(n))) for n, c in enumerate(cases)]
    transformer = small("sd3")
    wanted = {name: value.clone() for name, value in transformer.state_dict().items()}
    for case, scale in zip(cases, scales, strict=True):
        wanted = expected(case, wanted, scale)
    load_adapters(transformer, zip(adapters, scales, strict=True))
    merge_adapter(transformer)
    found = transformer.state_dict()
    for name, weight in wanted.items():
        assert (found[name] - weight).abs().max() <= 2e-6 * weight.abs().max(), name


STOCK = {
    "diffusers_sd3": StableDiffusion3Pipeline,
    "diffusers_with_alpha_in_the_header": FluxPipeline,
    "ai_toolkit": FluxPipeline,
    "kohya_flux_divided": FluxPipeline,
    "xlabs": FluxPipeline,
}


@pytest.mark.parametrize("name", STOCK)
def test_diffusers_itself_applies_the_same(tmp_path: Path, name: str) -> None:
    """The reference is that of `load_lora_weights`, too."""
    torch.manual_seed(1)
    case: Case = getattr(writers, name)()
    path = case.write(tmp_path)
    transformer = small(case.family)
    before = {key: value.clone() for key, value in transformer.state_dict().items()}
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    if case.family == "sd3":
        parts |= dict.fromkeys(("text_encoder_3", "tokenizer_3"))
    pipeline = STOCK[name](transformer=transformer, scheduler=None, **parts)
    pipeline.load_lora_weights(path)
    merge_adapter(transformer)
    assert_same(transformer.state_dict(), expected(case, before))


def test_names_of_other_families(tmp_path: Path) -> None:
    """Z-Image's and PixArt's fused layers, as ComfyUI and kohya's trainer name them."""
    torch.manual_seed(1)
    fused = {
        "diffusion_model.layers.3.attention.qkv": [f"layers.3.attention.to_{n}" for n in "qkv"],
        "lora_unet_blocks_2_cross_attn_kv_linear": [
            f"transformer_blocks.2.attn2.to_{n}" for n in "kv"
        ],
    }
    plain = {
        "diffusion_model.layers.3.attention.out": ["layers.3.attention.to_out.0"],
        "lora_unet_blocks_2_mlp_fc1": ["transformer_blocks.2.ff.net.0.proj"],
    }
    for prefix in ("diffusion_model.", "lora_unet_"):
        tensors, wanted = {}, {}
        for layer, names in (fused | plain).items():
            if layer.startswith(prefix):
                a, b = pair(len(names) * 8, 8)
                tensors |= {f"{layer}.lora_down.weight": a, f"{layer}.lora_up.weight": b}
                wanted |= dict(zip(names, (b @ a).split(8), strict=True))
        adapter = read_adapter(Case("", tensors, {}).write(tmp_path / prefix))
        found = adapter.fitted(list(wanted)).changes
        assert found.keys() == {f"{name}.weight" for name in wanted}
        for name, delta in wanted.items():
            torch.testing.assert_close(found[f"{name}.weight"].delta(), delta)


def test_what_is_for_text_encoders_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = writers.onetrainer().write(tmp_path)
    check_adapter(read_adapter(path), family="flux", model="small", transformer=small_flux())
    told = capsys.readouterr().err
    assert "3 tensors of text encoders, such as bundle_emb.ohwx.clip_l, are left out" in told
