"""Files of other trainers give the layers that their formulas say: W + alpha / rank B A."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.tiny import tiny_transformer
from diffusion4k.errors import Diffusion4kError
from diffusion4k.lora import check_adapter, load_adapter, merge_adapter, read_adapter

RANK, WIDTH, MLP = 2, 3072, 12288  # the widths of Flux, by which diffusers cuts what is in one


def pair(out: int, inner: int, rank: int = RANK) -> tuple[Tensor, Tensor]:
    return torch.randn(rank, inner), torch.randn(out, rank)


def written(style: str, layers: dict[str, tuple[Tensor, Tensor, float]]) -> dict[str, Tensor]:
    """Layers (A, B, alpha) as a trainer writes them."""
    prefix, down, up, flat = {
        "kohya": ("lora_unet_", ".lora_down.weight", ".lora_up.weight", True),
        "onetrainer": ("lora_transformer_", ".lora_down.weight", ".lora_up.weight", True),
        "comfy": ("diffusion_model.", ".lora_A.weight", ".lora_B.weight", False),
        "peft": ("base_model.model.", ".lora_A.weight", ".lora_B.weight", False),
        "alphas": ("transformer.", ".lora_A.weight", ".lora_B.weight", False),
    }[style]
    weights = {}
    for name, (a, b, alpha) in layers.items():
        layer = prefix + (name.replace(".", "_") if flat else name)
        weights |= {layer + down: a, layer + up: b, f"{layer}.alpha": torch.tensor(alpha)}
    return {name: value.contiguous() for name, value in weights.items()}


@pytest.mark.parametrize("style", ["kohya", "onetrainer", "comfy", "peft", "alphas"])
def test_layers_of_a_transformer(
    tmp_path: Path, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    names = ("transformer_blocks.1.attn.to_q", "transformer_blocks.0.ff.net.0.proj")
    plain, tuned = tiny_transformer(), tiny_transformer()
    tuned.load_state_dict(plain.state_dict())
    layers, expected = {}, {}
    for name, alpha, rank in zip(names, (8.0, 0.5), (2, 4), strict=True):
        layer = plain.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        a, b = pair(layer.out_features, layer.in_features, rank)
        layers[name] = a, b, alpha
        expected[f"{name}.weight"] = layer.weight + alpha / rank * b @ a
    weights = written(style, layers)
    weights["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = torch.ones(2, 4)
    save_file(weights, tmp_path / "other.safetensors")
    adapter = read_adapter(tmp_path / "other.safetensors")
    assert "text encoders are left out" in capsys.readouterr().err
    check_adapter(adapter, family="stable-diffusion-3", model="tiny", transformer=tuned)
    load_adapter(tuned, adapter)
    merge_adapter(tuned)
    for name, value in tuned.state_dict().items():
        torch.testing.assert_close(value, expected.get(name, plain.state_dict()[name]))


@pytest.mark.parametrize("style", ["kohya", "comfy"])
def test_layers_of_flux_that_are_several_in_one(tmp_path: Path, style: str) -> None:
    torch.manual_seed(0)
    qkv, linear1 = pair(3 * WIDTH, WIDTH), pair(3 * WIDTH + MLP, WIDTH)
    final = pair(64, WIDTH)
    layers = {
        "double_blocks.3.img_attn.qkv": (*qkv, 4.0),
        "single_blocks.5.linear1": (*linear1, 1.0),
        "final_layer.linear": (*final, 6.0),
    }
    save_file(written(style, layers), tmp_path / "other.safetensors")
    found = read_adapter(tmp_path / "other.safetensors").weights

    def change(layer: str) -> Tensor:
        return found[f"{layer}.lora_B.weight"] @ found[f"{layer}.lora_A.weight"]

    attention, rows = "transformer_blocks.3.attn.to_", slice(0, 40)
    for part, name in enumerate("qkv"):
        whole = 4.0 / RANK * qkv[1][part * WIDTH : (part + 1) * WIDTH][rows] @ qkv[0]
        torch.testing.assert_close(change(attention + name)[rows], whole)
    single = "single_transformer_blocks.5."
    whole = 1.0 / RANK * linear1[1][3 * WIDTH :][rows] @ linear1[0]
    torch.testing.assert_close(change(single + "proj_mlp")[rows], whole)
    torch.testing.assert_close(change("proj_out"), 6.0 / RANK * final[1] @ final[0])
    assert len(found) == 2 * (3 + 4 + 1)


def of_x_flux() -> dict[str, tuple[Tensor, Tensor]]:
    """Layers as XLabs name them: of pictures 1, of texts 2."""
    of_block = {"qkv_lora1": 3 * WIDTH, "qkv_lora2": 3 * WIDTH, "proj_lora1": WIDTH}
    layers = {f"double_blocks.3.processor.{n}": pair(out, WIDTH) for n, out in of_block.items()}
    return layers | {
        "single_blocks.5.processor.qkv_lora": pair(3 * WIDTH, WIDTH),
        "single_blocks.5.processor.proj_lora": pair(WIDTH, WIDTH + MLP),
    }


def as_x_flux(layers: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    ends = ("down.weight", "up.weight")
    return {f"{n}.{end}": m for n, ab in layers.items() for end, m in zip(ends, ab, strict=True)}


def test_layers_of_x_flux(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = of_x_flux()
    save_file(as_x_flux(layers), tmp_path / "other.safetensors")
    adapter = read_adapter(tmp_path / "other.safetensors").fitted(nn.Module())
    rows = slice(0, 40)

    def same(name: str, layer: str, part: int = 0) -> None:
        a, b = (adapter.weights[f"{name}.lora_{matrix}.weight"] for matrix in "AB")
        (down, up), first = layers[layer], part * WIDTH
        torch.testing.assert_close(b[rows] @ a, up[first : first + WIDTH][rows] @ down)

    double, single = "double_blocks.3.processor.", "single_blocks.5.processor."
    for part, name in enumerate("qkv"):
        same(f"transformer_blocks.3.attn.to_{name}", double + "qkv_lora1", part)
        same(f"transformer_blocks.3.attn.add_{name}_proj", double + "qkv_lora2", part)
        same(f"single_transformer_blocks.5.attn.to_{name}", single + "qkv_lora", part)
    same("transformer_blocks.3.attn.to_out.0", double + "proj_lora1")
    same("single_transformer_blocks.5.proj_out", single + "proj_lora")
    assert len(adapter.weights) == 2 * (9 + 2)
    assert adapter.config["lora_alpha"] == adapter.config["r"] == RANK  # strength 1


def test_z_image_s_output_has_another_name(tmp_path: Path) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_out = nn.ModuleList([nn.Linear(6, 6)])

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention()

    network = nn.ModuleDict({"layers": nn.ModuleList([Block()])})
    a, b = pair(6, 6)
    save_file(written("comfy", {"layers.0.attention.out": (a, b, 2.0)}), tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors").fitted(network)
    assert sorted(adapter.weights) == [
        f"layers.0.attention.to_out.0.lora_{part}.weight" for part in "AB"
    ]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"lora_unet_a.lokr_w1": torch.ones(2, 2)}, "lokr_w1, which is not part of a plain LoRA"),
        ({"lora_unet_a.lora_down.weight": torch.ones(2, 4)}, "a has no lora_B"),
        ({"lora_te1_a.lora_down.weight": torch.ones(2, 4)}, "found nothing for a transformer"),
        (
            {"double_blocks.3.processor.ip_adapter_double_stream_k_proj.weight": torch.ones(2, 4)},
            "k_proj.weight, which is not part of a plain LoRA",
        ),
        (
            {"double_blocks.3.processor.qkv_lora1.down.weight": torch.ones(2, 4)},
            "found no double_blocks.3.processor.qkv_lora1.up.weight",
        ),
        (
            {"double_blocks.3.processor.proj_lora1.down.weight": torch.ones(2, 4)},
            "transformer_blocks.3.attn.to_out.0 has lora_A, but no lora_B",
        ),
        (
            {f"lora_unet_a.lora_{end}.weight": torch.ones(2, 4, 1, 1) for end in ("down", "up")},
            "4 dimensions, allowed are 2",
        ),
    ],
)
def test_what_is_no_plain_lora(tmp_path: Path, weights: dict[str, Tensor], reason: str) -> None:
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(Diffusion4kError) as error:
        read_adapter(tmp_path / "other.safetensors")
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_layers_that_the_model_has_not(tmp_path: Path) -> None:
    a, b = pair(32, 32)
    save_file(written("kohya", {"input_blocks.1.proj": (a, b, 1.0)}), tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors")
    with pytest.raises(Diffusion4kError, match=r"input_blocks_1_proj has .*no such linear layer"):
        check_adapter(adapter, family="x", model="tiny", transformer=tiny_transformer())
